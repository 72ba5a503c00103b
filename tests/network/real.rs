//! Real web servers built with Unikraft, from the folder that `RUNU_GUESTS` names: kernels called `http-…` listen on port
//! 8080 and answer any request; kernels of both kinds take part, as they are.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use crate::LIMIT;
use crate::server::{Host, free};
use crate::support::{Room, skip};

#[test]
fn real_web_servers_answer_behind_a_published_port() {
    if !Host::Runu.is_here() {
        return;
    }
    let Some(folder) = env::var_os("RUNU_GUESTS").map(PathBuf::from) else {
        return skip("RUNU_GUESTS names no folder with real kernels");
    };
    let files = fs::read_dir(&folder).expect("RUNU_GUESTS is a folder").flatten().map(|entry| entry.path());
    let servers: Vec<PathBuf> = files.filter(|path| is_server(path)).collect();
    if servers.is_empty() {
        return skip("there is no web server in the folder that RUNU_GUESTS names");
    }
    for server in servers {
        let room = Room::new();
        let web = free();
        let mut command = room.runu(&["run", "--publish", &format!("{web}:8080")]);
        let mut running = room.start(command.arg(&server));
        running.wait_for("Listening on port");
        for _ in 0..3 {
            let answer = answer(web);
            assert!(answer.starts_with("HTTP/1.") && answer.contains(" 200 "), "{server:?}: {answer}");
        }
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.wait().status(), 143, "{server:?}");
    }
}

fn is_server(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("http-") && path.extension().is_none_or(|it| it != "cmdline" && it != "expect")
}

/// What a server answers to one request, until it closes the connection.
fn answer(web: SocketAddr) -> String {
    let mut stream = TcpStream::connect_timeout(&web, LIMIT).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("the limit is not zero");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}
