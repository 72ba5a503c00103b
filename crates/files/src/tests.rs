//! What a client can do, and what it cannot, in both dialects.

use std::{
    fs,
    io::{Read, Write as _},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    os::unix::net::UnixStream,
    rc::Rc,
    thread,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use crate::{
    Limits, ServeError, Served, Server, Session,
    attributes::dm,
    harness::{Client, L, NOBODY, ROOT, U, names_l, records},
    node::Node,
    request::kind,
    wire::Write,
};

const BOTH: [&[u8]; 2] = [L, U];

#[test]
fn version_agrees_on_the_smaller_size_and_a_known_dialect() {
    let mut client = Client::silent(false, Limits::default());
    for dialect in BOTH {
        assert_eq!(client.version(8192, dialect), Ok((8192, dialect.to_vec())));
        assert_eq!(client.version(u32::MAX, dialect), Ok((512 << 10, dialect.to_vec())));
    }
    assert_eq!(client.version(8192, b"9P2001"), Ok((8192, b"unknown".to_vec())));
    assert_eq!(client.version(1024, L), Err(Errno::MSGSIZE));
}

#[test]
fn nothing_is_answered_before_a_version_is_agreed_on() {
    let mut client = Client::silent(false, Limits::default());
    assert_eq!(client.attach(ROOT, NOBODY), Err(Errno::PROTO));
    client.version(8192, b"9P2001").unwrap();
    assert_eq!(client.attach(ROOT, NOBODY), Err(Errno::PROTO));
}

#[test]
fn version_told_again_forgets_every_file() {
    let mut client = Client::attached(L, false);
    client.version(8192, L).unwrap();
    assert_eq!(client.walk(ROOT, 1, &[]), Err(Errno::BADF));
}

#[test]
fn file_is_created_written_and_read_back_in_each_dialect() {
    for dialect in BOTH {
        let mut client = Client::attached(dialect, false);
        client.walk(ROOT, 1, &[]).unwrap();
        match dialect {
            L => client.l_create(1, "new", 2, 0o640).unwrap(),
            _ => client.create(1, "new", 0o640, 2, "").unwrap(),
        };
        assert_eq!(client.write(1, 0, b"hello world"), Ok(11));
        assert_eq!(client.write(1, 6, b"there"), Ok(5));
        assert_eq!(client.read(kind::READ, 1, 3, 100), Ok(b"lo there".to_vec()));
        assert_eq!(client.read(kind::READ, 1, 1000, 100), Ok(Vec::new()));
        client.on_fid(kind::CLUNK, 1).unwrap();
        assert_eq!(fs::read(client.path("new")).unwrap(), b"hello there");
        assert_eq!(fs::metadata(client.path("new")).unwrap().mode() & 0o7777, 0o640);
    }
}

#[test]
fn directory_is_made_by_the_old_message_in_a_session_of_the_new_dialect() {
    let mut client = Client::attached(L, false);
    client.walk(ROOT, 1, &[]).unwrap();
    client.create(1, "made", dm::DIRECTORY | 0o755, 0, "").unwrap();
    assert!(client.path("made").is_dir());
}

#[test]
fn parent_of_the_root_is_the_root_and_of_others_what_was_walked_from() {
    for dialect in BOTH {
        let mut client = Client::attached(dialect, false);
        fs::create_dir_all(client.path("a/b")).unwrap();
        assert_eq!(client.walk(ROOT, 1, &["..", "..", "a", "b", "..", "..", "..", "..", "a"]), Ok(9));
        assert_eq!(client.walk(1, 2, &["b"]), Ok(1));
        assert_eq!(client.walk(ROOT, 3, &["..", "secret"]), Ok(1));
        assert_eq!(client.on_fid(kind::STAT, 3), Err(Errno::BADF));
    }
}

#[test]
fn directory_moved_out_of_the_share_does_not_lead_out() {
    let mut client = Client::attached(L, false);
    fs::create_dir(client.path("a")).unwrap();
    client.walk(ROOT, 1, &["a"]).unwrap();
    fs::rename(client.path("a"), client.secret().with_file_name("moved")).unwrap();
    assert_eq!(client.walk(1, 2, &["..", "secret"]), Ok(1));
    assert_eq!(client.walk(1, 3, &["..", "..", "secret"]), Ok(2));
}

#[test]
fn directory_moved_below_one_that_was_in_it_has_that_above_it() {
    for dialect in BOTH {
        let mut client = Client::attached(dialect, false);
        fs::create_dir_all(client.path("outer/inner/deep")).unwrap();
        fs::write(client.path("file"), "").unwrap();
        client.walk(ROOT, 1, &["outer"]).unwrap();
        client.walk(1, 2, &["inner", "deep"]).unwrap();
        client.rename_at(1, "inner", ROOT, "inner").unwrap();
        client.walk(2, 3, &[".."]).unwrap();
        client.rename_at(ROOT, "outer", 3, "outer").unwrap();
        assert_eq!(client.walk(1, 4, &["..", "..", "file"]), Ok(3));
    }
}

#[test]
fn directory_that_seems_to_be_moved_below_itself_still_leads_to_the_root() {
    let mut client = Client::attached(L, false);
    fs::create_dir_all(client.path("outer/inner")).unwrap();
    fs::write(client.path("file"), "").unwrap();
    client.walk(ROOT, 1, &["outer"]).unwrap();
    client.walk(1, 2, &["inner"]).unwrap();
    fs::rename(client.path("outer/inner"), client.path("inner")).unwrap();
    client.rename_at(ROOT, "outer", 2, "outer").unwrap();
    assert!(client.path("inner/outer").is_dir());
    assert_eq!(client.walk(2, 3, &["..", "..", "file"]), Ok(3));
}

#[test]
fn names_that_are_paths_are_refused_everywhere() {
    let mut client = Client::attached(L, false);
    fs::create_dir(client.path("a")).unwrap();
    for name in ["../secret", "a/../../secret", "/etc/passwd", "a/", "nul\0", ""] {
        assert!(client.walk(ROOT, 1, &[name]).is_err(), "{name}");
    }
    for name in ["..", ".", "../new", "a/new", "/new", "nul\0", ""] {
        client.walk(ROOT, 1, &[]).unwrap();
        assert!(client.l_create(1, name, 1, 0o600).is_err(), "{name}");
        assert!(client.create(1, name, dm::DIRECTORY | 0o700, 0, "").is_err(), "{name}");
        assert!(client.with_names(kind::MKDIR, ROOT, &[name], &[0o700, 0]).is_err(), "{name}");
        assert!(client.with_names(kind::SYMLINK, ROOT, &[name, "x"], &[0]).is_err(), "{name}");
        assert!(client.with_names(kind::UNLINKAT, ROOT, &[name], &[0x200]).is_err(), "{name}");
        assert!(client.rename_at(ROOT, "a", ROOT, name).is_err(), "{name}");
        client.on_fid(kind::CLUNK, 1).unwrap();
    }
    assert_eq!(client.walk(ROOT, 1, &[&"x".repeat(256)]), Err(Errno::NAMETOOLONG));
    assert!(client.path("a").is_dir());
}

#[test]
fn link_out_of_the_share_is_shown_and_never_followed() {
    for dialect in BOTH {
        let mut client = Client::attached(dialect, false);
        symlink(client.secret(), client.path("absolute")).unwrap();
        symlink("../secret", client.path("relative")).unwrap();
        symlink("..", client.path("above")).unwrap();
        for (fid, name) in [(1, "absolute"), (2, "relative")] {
            client.walk(ROOT, fid, &[name]).unwrap();
            assert_eq!(client.l_open(fid, 0), Err(Errno::LOOP));
            assert_eq!(client.open(fid, 0), Err(Errno::LOOP));
            assert_eq!(client.set(fid, 8, [0; 3], 0), Err(Errno::LOOP));
            assert_eq!(client.set(fid, 1, [0o777, 0, 0], 0), Err(Errno::LOOP));
        }
        assert_eq!(client.walk(ROOT, 3, &["above", "secret"]), Ok(1));
        client.walk(ROOT, 4, &[]).unwrap();
        assert_eq!(client.l_create(4, "relative", 1 | 0o1000, 0o600), Err(Errno::LOOP));
        assert_eq!(client.create(4, "absolute", 0o600, 0x11, ""), Err(Errno::LOOP));
        assert_eq!(fs::read(client.secret()).unwrap(), b"not yours");
    }
}

#[test]
fn link_in_a_record_of_the_unix_dialect_tells_where_it_leads() {
    let mut client = Client::attached(U, false);
    symlink("/etc/passwd", client.path("link")).unwrap();
    client.walk(ROOT, 1, &["link"]).unwrap();
    let reply = client.on_fid(kind::STAT, 1).unwrap();
    let record = &records(&reply[2..])[0];
    assert_eq!((record.name.as_str(), record.target.as_str()), ("link", "/etc/passwd"));
    assert_eq!(record.mode & dm::SYMLINK, dm::SYMLINK);
}

#[test]
fn link_is_made_and_read_back() {
    for dialect in BOTH {
        let mut client = Client::attached(dialect, false);
        match dialect {
            L => client.with_names(kind::SYMLINK, ROOT, &["link", "/any/where"], &[0]).unwrap(),
            _ => {
                client.walk(ROOT, 1, &[]).unwrap();
                client.create(1, "link", dm::SYMLINK | 0o777, 0, "/any/where").unwrap()
            }
        };
        assert_eq!(fs::read_link(client.path("link")).unwrap().to_str(), Some("/any/where"));
        client.walk(ROOT, 2, &["link"]).unwrap();
        let reply = client.on_fid(kind::READLINK, 2).unwrap();
        assert_eq!(&reply[2..], b"/any/where");
        assert_eq!(client.on_fid(kind::READLINK, ROOT), Err(Errno::INVAL));
    }
}

#[test]
fn files_that_are_neither_regular_nor_directories_are_not_opened() {
    let mut client = Client::attached(L, false);
    let fifo = client.path("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(client.path("socket")).unwrap();
    for (fid, name) in [(1, "fifo"), (2, "socket")] {
        client.walk(ROOT, fid, &[name]).unwrap();
        for flags in 0..3 {
            assert_eq!(client.l_open(fid, flags), Err(Errno::NXIO), "{name} {flags}");
        }
        client.on_fid(kind::GETATTR, fid).unwrap_err();
    }
    client.walk(ROOT, 3, &[]).unwrap();
    assert_eq!(client.l_create(3, "fifo", 1, 0o600), Err(Errno::NXIO));
}

#[test]
fn device_pipe_or_socket_is_not_made() {
    let mut client = Client::attached(L, false);
    for mode in [0o010_000, 0o020_000, 0o060_000, 0o140_000] {
        assert_eq!(client.with_names(kind::MKNOD, ROOT, &["n"], &[mode | 0o666, 1, 3, 0]), Err(Errno::PERM));
    }
    client.walk(ROOT, 1, &[]).unwrap();
    assert_eq!(client.create(1, "n", dm::DEVICE, 0, "c 1 3"), Err(Errno::PERM));
    client.with_names(kind::MKNOD, ROOT, &["file"], &[0o100_640, 0, 0, 0]).unwrap();
    assert!(client.path("file").is_file());
}

#[test]
fn read_only_share_is_read_and_refuses_every_change() {
    for dialect in BOTH {
        let mut client = Client::attached(dialect, true);
        fs::write(client.path("file"), "as it was").unwrap();
        let before = fs::metadata(client.path("file")).unwrap();
        client.walk(ROOT, 1, &["file"]).unwrap();
        client.walk(ROOT, 2, &[]).unwrap();
        for refused in [
            client.l_open(1, 1),
            client.l_open(1, 2),
            client.l_open(1, 0o1000),
            client.open(1, 1),
            client.open(1, 0x10),
            client.open(1, 0x40),
            client.l_create(2, "new", 1, 0o600),
            client.create(2, "new", 0o600, 1, ""),
            client.with_names(kind::MKDIR, ROOT, &["new"], &[0o700, 0]),
            client.with_names(kind::SYMLINK, ROOT, &["new", "x"], &[0]),
            client.with_names(kind::MKNOD, ROOT, &["new"], &[0o100_600, 0, 0, 0]),
            client.with_names(kind::UNLINKAT, ROOT, &["file"], &[0]),
            client.ask(kind::LINK, &[&[0; 4][..], &[1, 0, 0, 0, 1, 0, b'x']].concat()),
            client.rename_at(ROOT, "file", ROOT, "other"),
            client.set(1, 8, [0; 3], 0),
            client.set(1, 1, [0; 3], 0),
            client.w_stat(1, 0o600, u64::MAX, u32::MAX, ""),
            client.w_stat(1, u32::MAX, u64::MAX, u32::MAX, "other"),
            client.write(1, 0, b"x").map(|_| Vec::new()),
        ] {
            assert_eq!(refused, Err(Errno::ROFS));
        }
        client.l_open(1, 0).unwrap();
        assert_eq!(client.read(kind::READ, 1, 0, 100), Ok(b"as it was".to_vec()));
        assert_eq!(client.w_stat(1, u32::MAX, u64::MAX, u32::MAX, ""), Ok(Vec::new()));
        assert_eq!(client.on_fid(kind::REMOVE, 1), Err(Errno::ROFS));
        let after = fs::metadata(client.path("file")).unwrap();
        assert_eq!((before.mode(), before.len(), before.mtime()), (after.mode(), after.len(), after.mtime()));
        assert_eq!(fs::read_dir(client.path("")).unwrap().count(), 1);
    }
}

#[test]
fn directory_of_many_is_read_piece_by_piece_and_completely() {
    let mut client = Client::attached(L, false);
    let mut expected: Vec<String> = (0..400).map(|number| format!("file-{number:03}")).collect();
    expected.iter().for_each(|name| fs::write(client.path(name), "").unwrap());
    expected.extend([".".into(), "..".into()]);
    client.walk(ROOT, 1, &[]).unwrap();
    client.l_open(1, 0o200_000).unwrap();

    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let data = client.read(kind::READDIR, 1, offset, 300).unwrap();
        assert!(data.len() <= 300);
        let (names, next) = names_l(&data);
        if names.is_empty() {
            break;
        }
        found.extend(names);
        offset = next;
    }

    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn directory_read_in_the_unix_dialect_gives_whole_records_in_order_only() {
    let mut client = Client::attached(U, false);
    let mut expected: Vec<String> = (0..100).map(|number| format!("file-{number:03}")).collect();
    expected.iter().for_each(|name| fs::write(client.path(name), "12345").unwrap());
    client.walk(ROOT, 1, &[]).unwrap();
    client.open(1, 0).unwrap();

    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let data = client.read(kind::READ, 1, offset, 500).unwrap();
        if data.is_empty() {
            break;
        }
        offset += data.len() as u64;
        found.extend(records(&data));
    }

    found.sort_by(|a, b| a.name.cmp(&b.name));
    expected.sort();
    assert_eq!(found.iter().map(|record| record.name.clone()).collect::<Vec<_>>(), expected);
    assert!(found.iter().all(|record| record.size == 5 && record.mode & dm::DIRECTORY == 0));
    let uid = fs::metadata(client.path("file-000")).unwrap().uid();
    assert!(found.iter().all(|record| record.uid == uid));
    assert_eq!(client.read(kind::READ, 1, 7, 500), Err(Errno::INVAL));
    assert!(!client.read(kind::READ, 1, 0, 500).unwrap().is_empty());
}

#[test]
fn parent_of_the_root_in_a_listing_is_the_root() {
    let mut client = Client::attached(L, false);
    client.walk(ROOT, 1, &[]).unwrap();
    client.l_open(1, 0).unwrap();
    let data = client.read(kind::READDIR, 1, 0, 4096).unwrap();
    let own = fs::metadata(client.path("")).unwrap().ino();
    let above = fs::metadata(client.secret().parent().unwrap()).unwrap().ino();
    // Qid: type, version, path.
    let inodes: Vec<u64> = [0, 13 + 8 + 1 + 2 + 1]
        .into_iter()
        .map(|at| u64::from_le_bytes(data[at + 5..at + 13].try_into().unwrap()))
        .collect();
    assert!(inodes.contains(&own) && !inodes.contains(&above));
}

#[test]
fn renamed_file_is_still_known_and_can_be_opened_and_removed() {
    let mut client = Client::attached(L, false);
    fs::write(client.path("old"), "contents").unwrap();
    fs::create_dir(client.path("dir")).unwrap();
    client.walk(ROOT, 1, &["old"]).unwrap();
    client.walk(ROOT, 2, &["dir"]).unwrap();
    client.walk(ROOT, 3, &["old"]).unwrap();
    client.rename_at(ROOT, "old", 2, "new").unwrap();
    client.l_open(1, 0).unwrap();
    assert_eq!(client.read(kind::READ, 1, 0, 100), Ok(b"contents".to_vec()));
    let mut body = Vec::new();
    body.u32(3);
    body.u32(ROOT);
    body.string(b"back");
    client.ask(kind::RENAME, &body).unwrap();
    assert!(client.path("back").exists());
    client.on_fid(kind::REMOVE, 3).unwrap();
    assert!(!client.path("back").exists());
    assert_eq!(client.on_fid(kind::CLUNK, 3), Err(Errno::BADF));
}

#[test]
fn file_that_was_replaced_is_not_taken_for_the_one_that_is_there_now() {
    let mut client = Client::attached(L, false);
    fs::write(client.path("file"), "first").unwrap();
    client.walk(ROOT, 1, &["file"]).unwrap();
    client.walk(ROOT, 2, &["file"]).unwrap();
    fs::write(client.path("other"), "second").unwrap();
    fs::rename(client.path("other"), client.path("file")).unwrap();
    assert_eq!(client.l_open(1, 0), Err(Errno::STALE));
    assert_eq!(client.on_fid(kind::REMOVE, 2), Err(Errno::STALE));
    assert_eq!(fs::read(client.path("file")).unwrap(), b"second");
}

#[test]
fn opened_file_without_a_name_is_still_read_written_and_cut() {
    let mut client = Client::attached(L, false);
    client.walk(ROOT, 1, &[]).unwrap();
    client.l_create(1, "file", 2, 0o600).unwrap();
    client.write(1, 0, b"0123456789").unwrap();
    client.with_names(kind::UNLINKAT, ROOT, &["file"], &[0]).unwrap();
    client.set(1, 8, [0; 3], 4).unwrap();
    assert_eq!(client.read(kind::READ, 1, 0, 100), Ok(b"0123".to_vec()));
}

#[test]
fn attributes_are_changed_in_each_dialect() {
    let mut client = Client::attached(L, false);
    fs::write(client.path("file"), "0123456789").unwrap();
    client.walk(ROOT, 1, &["file"]).unwrap();
    // Mode, size, and both times as told.
    client.set(1, 1 | 8 | 0x10 | 0x20 | 0x80 | 0x100, [0o604, 0, 0], 3).unwrap();
    let found = fs::metadata(client.path("file")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.len(), found.atime(), found.mtime()), (0o604, 3, 11, 13));
    assert_eq!((found.atime_nsec(), found.mtime_nsec()), (12, 14));

    let mut client = Client::attached(U, false);
    fs::write(client.path("file"), "0123456789").unwrap();
    client.walk(ROOT, 1, &["file"]).unwrap();
    client.w_stat(1, dm::SET_GROUP | 0o711, 5, 77, "renamed").unwrap();
    let found = fs::metadata(client.path("renamed")).unwrap();
    assert_eq!((found.mode() & 0o7777, found.len(), found.mtime()), (0o2711, 5, 77));
}

#[test]
fn attributes_told_are_those_on_disk() {
    let mut client = Client::attached(L, false);
    fs::write(client.path("file"), "0123456789").unwrap();
    fs::set_permissions(client.path("file"), fs::Permissions::from_mode(0o751)).unwrap();
    client.walk(ROOT, 1, &["file"]).unwrap();
    let reply = client.ask(kind::GETATTR, &[&1_u32.to_le_bytes()[..], &[0xff; 8]].concat()).unwrap();
    let found = fs::metadata(client.path("file")).unwrap();
    let number = |at: usize| u64::from_le_bytes(reply[at..at + 8].try_into().unwrap());
    let short = |at: usize| u32::from_le_bytes(reply[at..at + 4].try_into().unwrap());
    assert_eq!(
        (number(13), short(21), short(25), short(29)),
        (found.ino(), found.mode(), found.uid(), found.gid())
    );
    assert_eq!((number(33), number(49), number(65)), (found.nlink(), 10, found.blocks()));
    assert_eq!(number(89), found.mtime().cast_unsigned());
}

#[test]
fn file_belongs_to_the_user_that_the_client_named_where_that_can_be() {
    let mut client = Client::attached(L, false);
    client.attach(10, 1234).unwrap();
    client.l_create(10, "theirs", 1, 0o600).unwrap();
    client.walk(ROOT, 11, &[]).unwrap();
    client.l_create(11, "ours", 1, 0o600).unwrap();
    let own = rustix::process::geteuid().as_raw();
    let theirs = if rustix::process::geteuid().is_root() { 1234 } else { own };
    assert_eq!(fs::metadata(client.path("theirs")).unwrap().uid(), theirs);
    assert_eq!(fs::metadata(client.path("ours")).unwrap().uid(), own);
}

#[test]
fn hard_link_is_made_from_what_is_known() {
    let mut client = Client::attached(L, false);
    fs::write(client.path("file"), "x").unwrap();
    client.walk(ROOT, 1, &["file"]).unwrap();
    let mut body = Vec::new();
    body.u32(ROOT);
    body.u32(1);
    body.string(b"second");
    client.ask(kind::LINK, &body).unwrap();
    assert_eq!(fs::metadata(client.path("second")).unwrap().nlink(), 2);
}

#[test]
fn root_of_the_share_is_neither_removed_nor_renamed() {
    let mut client = Client::attached(L, false);
    client.walk(ROOT, 1, &[]).unwrap();
    assert_eq!(client.on_fid(kind::REMOVE, 1), Err(Errno::BUSY));
    assert_eq!(client.w_stat(ROOT, u32::MAX, u64::MAX, u32::MAX, "other"), Err(Errno::BUSY));
}

#[test]
fn place_where_something_is_mounted_is_used_and_neither_removed_nor_renamed() {
    for dialect in BOTH {
        let Some(mut client) = Client::with_mounts(dialect) else { return };
        fs::write(client.path("other"), "").unwrap();
        for name in ["file", "memory"] {
            client.walk(ROOT, 1, &[name]).unwrap();
            assert_eq!(client.on_fid(kind::REMOVE, 1), Err(Errno::BUSY), "{name}");
            for flags in [0, 0x200] {
                assert_eq!(
                    client.with_names(kind::UNLINKAT, ROOT, &[name], &[flags]),
                    Err(Errno::BUSY),
                    "{name}"
                );
            }
            assert_eq!(client.rename_at(ROOT, name, ROOT, "new"), Err(Errno::BUSY), "{name}");
            assert_eq!(client.rename_at(ROOT, "other", ROOT, name), Err(Errno::BUSY), "{name}");
        }
        client.walk(ROOT, 2, &["file"]).unwrap();
        client.l_open(2, 2).unwrap();
        client.write(2, 0, b"now").unwrap();
        assert_eq!(fs::read(client.secret()).unwrap(), b"now yours");
        assert_eq!(fs::read(client.path("file")).unwrap(), b"");
    }
}

#[test]
fn client_knows_no_more_files_than_its_limit() {
    let mut client = Client::silent(false, Limits { fids: 3, ..Limits::default() });
    client.version(8192, L).unwrap();
    client.attach(ROOT, NOBODY).unwrap();
    assert_eq!(client.walk(ROOT, 1, &[]), Ok(0));
    assert_eq!(client.walk(ROOT, 1, &[]), Err(Errno::INVAL));
    assert_eq!(client.walk(ROOT, 2, &[]), Ok(0));
    assert_eq!(client.walk(ROOT, 3, &[]), Err(Errno::MFILE));
    client.on_fid(kind::CLUNK, 1).unwrap();
    assert_eq!(client.walk(ROOT, 3, &[]), Ok(0));
}

#[test]
fn directories_above_a_file_are_let_go_however_many_they_are() {
    /// Too little for one call within another for each of them.
    const STACK: usize = 32 << 10;
    let folder = tempfile::tempdir().unwrap();
    let root = rustix::fs::open(folder.path(), OFlags::PATH, Mode::empty()).unwrap();
    let descend = |above: Rc<Node>| {
        rustix::fs::mkdirat(above.handle(), "d", Mode::RWXU).unwrap();
        above.walk(b"d").unwrap()
    };
    let deep = move || drop((0..900).fold(Node::root(root), |above, _| descend(above)));
    thread::Builder::new().stack_size(STACK).spawn(deep).unwrap().join().unwrap();
}

#[test]
fn directories_nested_deeper_than_a_path_are_out_of_reach() {
    let mut client = Client::attached(L, false);
    client.walk(ROOT, 1, &[]).unwrap();
    let deep = (0..1100).map(|_| client.create(1, "d", dm::DIRECTORY | 0o700, 0, "")).find(Result::is_err);
    assert_eq!(deep, Some(Err(Errno::NAMETOOLONG)));
}

#[test]
fn read_never_answers_with_more_than_the_message_can_hold() {
    let mut client = Client::silent(false, Limits::default());
    client.version(4096, L).unwrap();
    client.attach(ROOT, NOBODY).unwrap();
    fs::write(client.path("file"), vec![1; 10_000]).unwrap();
    client.walk(ROOT, 1, &["file"]).unwrap();
    client.l_open(1, 0).unwrap();
    assert_eq!(client.read(kind::READ, 1, 0, u32::MAX).unwrap().len(), 4096 - 11);
}

#[test]
fn messages_cut_short_or_with_more_than_belongs_to_them_are_refused() {
    let mut client = Client::attached(L, false);
    for kind in 0..=255_u8 {
        assert!(client.ask(kind, &[]).is_err(), "{kind}");
        assert!(client.ask(kind, &[0xff; 3]).is_err(), "{kind}");
    }
    assert_eq!(client.ask(kind::CLUNK, &[0; 5]), Err(Errno::PROTO));
    assert_eq!(client.ask(kind::WRITE, &[0xff; 16]), Err(Errno::PROTO));
    assert_eq!(client.raw(&[]).len(), 11);
}

#[test]
fn locks_are_granted_and_extended_attributes_are_not_there() {
    let mut client = Client::attached(L, false);
    client.walk(ROOT, 1, &[]).unwrap();
    client.l_create(1, "file", 2, 0o600).unwrap();
    let mut body = Vec::from(1_u32.to_le_bytes());
    body.put(&[0; 25]);
    body.string(b"me");
    assert_eq!(client.ask(kind::LOCK, &body), Ok(vec![0]));
    assert_eq!(client.ask(kind::XATTRWALK, &[0; 8]), Err(Errno::OPNOTSUPP));
    client.on_fid(kind::STATFS, 1).unwrap();
    client.on_fid(kind::FSYNC, 1).unwrap();
    client.ask(kind::FLUSH, &[0; 2]).unwrap();
}

#[test]
fn server_answers_until_its_client_goes_and_stops_at_a_length_that_is_none() {
    let serve = |bytes: &[u8]| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let root = rustix::fs::open("/", rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
        let mut server = Server::new(ours, Session::new(root, true, Limits::default()));
        theirs.write_all(bytes).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let ended = loop {
            match server.serve() {
                Ok(Served::Request) => {}
                ended => break ended,
            }
        };
        drop(server);
        let mut answers = Vec::new();
        theirs.read_to_end(&mut answers).unwrap();
        (ended, answers.len())
    };
    let mut version = vec![21, 0, 0, 0, 100, 0xff, 0xff, 0, 0x20, 0, 0];
    version.string(L);
    assert!(matches!(serve(&version), (Ok(Served::End), 21)));
    assert!(matches!(serve(&[0xff; 4]), (Err(ServeError::Length(_)), 0)));
    assert!(matches!(serve(&[6, 0, 0, 0]), (Err(ServeError::Length(6)), 0)));
    assert!(matches!(serve(&[9, 0, 0, 0, 1]), (Err(ServeError::Stream(_)), 0)));
}

proptest::proptest! {
    /// A client may say anything at any time: nothing panics, nothing beside the share changes.
    #[test]
    fn anything_said_is_answered_and_does_no_harm(
        unix in proptest::bool::ANY,
        messages in proptest::collection::vec(
            (proptest::num::u8::ANY, proptest::collection::vec(proptest::num::u8::ANY, 0..60)),
            1..80,
        ),
    ) {
        let mut client = Client::attached(if unix { U } else { L }, false);
        let _ = client.walk(ROOT, 1, &[]);
        for (kind, body) in messages {
            // Small numbers of fids hit.
            let fid = [kind % 4, 0, 0, 0];
            let _ = client.raw(&[&[0, 0, 0, 0, kind % 128, 1, 0][..], &fid, &body].concat());
            let _ = client.raw(&[&[0, 0, 0, 0, kind][..], &body].concat());
        }
        proptest::prop_assert_eq!(fs::read(client.secret()).unwrap(), b"not yours");
        proptest::prop_assert_eq!(fs::read_dir(client.secret().parent().unwrap()).unwrap().count(), 2);
    }
}
