//! A connection to a D-Bus message bus, and calls to the systemd behind it.
//!
//! The bus and not systemd's own socket, which it keeps to itself (systemd(1), "/run/systemd/private").

use std::{
    env, fs,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::wire::{self, Call, FIXED_HEADER, Reader, Received, Writer};

/// Where every distribution has the system's bus (D-Bus Specification, "Standard System Bus").
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// How long systemd may take to do something. It has jobs of others too.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why systemd does not do something.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The bus cannot be reached.
    #[error("cannot reach the D-Bus socket `{}`", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The user has no bus.
    #[error(
        "there is no D-Bus of this user: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where"
    )]
    NoUserBus,
    /// The connection broke, or took too long.
    #[error("the connection to systemd failed")]
    Broken(#[from] io::Error),
    /// What was received is no message.
    #[error("the D-Bus sent what is no message")]
    Malformed,
    /// It does not know us.
    #[error("the D-Bus does not accept us")]
    Rejected,
    /// It refuses.
    #[error("systemd refuses: {message} ({name})")]
    Refused {
        /// The error's name.
        name: String,
        /// What it says.
        message: String,
    },
    /// A job came to no good end.
    #[error("systemd's job for `{unit}` ended as `{result}`")]
    Job {
        /// The unit.
        unit: String,
        /// How it ended.
        result: String,
    },
}

type Result<T> = std::result::Result<T, BusError>;

/// Which systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// The system's.
    System,
    /// That of the user who calls.
    User,
}

impl Manager {
    /// The one that gives this process control groups: root's is the system's, unless it is root of a user namespace only.
    pub(crate) fn ours() -> Self {
        /// The map of the initial user namespace (user_namespaces(7)): every id is itself.
        const INITIAL: [&str; 3] = ["0", "0", "4294967295"];
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let initial = map.is_empty() || map.split_ascii_whitespace().eq(INITIAL);
        if rustix::process::geteuid().is_root() && initial { Manager::System } else { Manager::User }
    }

    fn socket(self) -> Result<PathBuf> {
        match self {
            Manager::System => Ok(PathBuf::from(SYSTEM_BUS)),
            Manager::User => {
                let address = env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
                let runtime = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty());
                let usual = runtime.map(|folder| Path::new(&folder).join("bus"));
                path_of_address(&address).or(usual).ok_or(BusError::NoUserBus)
            }
        }
    }
}

/// The socket's path in a list of addresses (D-Bus Specification, "Server Addresses"), if there is a plain one.
fn path_of_address(addresses: &str) -> Option<PathBuf> {
    let paths = addresses.split(';').filter_map(|address| address.strip_prefix("unix:"));
    let mut paths = paths.filter_map(|keys| keys.split(',').find_map(|key| key.strip_prefix("path=")));
    paths.next().filter(|path| !path.contains('%')).map(PathBuf::from)
}

/// A connection to a bus.
pub(crate) struct Bus {
    stream: UnixStream,
    serial: u32,
    deadline: Instant,
    /// Ends of jobs that were told before they were waited for: the job, how it ended.
    ended: Vec<(String, String)>,
}

impl Bus {
    /// Connects to the bus of that systemd.
    pub(crate) fn connect(manager: Manager) -> Result<Self> {
        let path = manager.socket()?;
        let stream = UnixStream::connect(&path).map_err(|source| BusError::Connect { path, source })?;
        let deadline = Instant::now() + PATIENCE;
        let mut bus = Bus { stream, serial: 0, deadline, ended: Vec::new() };
        bus.authenticate()?;
        let hello = Call { member: "Hello", signature: "", ..OF_THE_BUS };
        bus.call(&hello, &Writer::default())?;
        Ok(bus)
    }

    /// Says who we are: whoever the kernel says has this socket (D-Bus Specification, "EXTERNAL").
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // "DATA", then "OK" and the server's id; BEGIN has no answer.
        self.line()?;
        if self.line()?.starts_with(b"OK") { Ok(()) } else { Err(BusError::Rejected) }
    }

    /// Asks to be told of the ends of jobs.
    pub(crate) fn watch_jobs(&mut self) -> Result<()> {
        let mut rule = Writer::default();
        rule.text("type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'");
        self.call(&Call { member: "AddMatch", signature: "s", ..OF_THE_BUS }, &rule)?;
        self.systemd("Subscribe", "", &Writer::default()).map(drop)
    }

    /// Calls a method of systemd's manager.
    pub(crate) fn systemd(&mut self, member: &str, signature: &str, body: &Writer) -> Result<Received> {
        self.call(&Call { member, signature, ..OF_SYSTEMD }, body)
    }

    /// Calls a method that queues a job, and waits for its end; needs [`Bus::watch_jobs`] before.
    pub(crate) fn systemd_job(
        &mut self,
        unit: &str,
        member: &str,
        signature: &str,
        body: &Writer,
    ) -> Result<()> {
        let reply = self.systemd(member, signature, body)?;
        let job = Reader::new(&reply.body).text().ok_or(BusError::Malformed)?;
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| *ended == job) {
                let result = result.clone();
                return match result.as_str() {
                    "done" => Ok(()),
                    _ => Err(BusError::Job { unit: unit.to_owned(), result }),
                };
            }
            self.receive()?;
        }
    }

    /// A property of the manager that is a text.
    pub(crate) fn property(&mut self, name: &str) -> Result<String> {
        let mut body = Writer::default();
        body.text(OF_SYSTEMD.interface).text(name);
        let interface = "org.freedesktop.DBus.Properties";
        let reply = self.call(&Call { interface, member: "Get", signature: "ss", ..OF_SYSTEMD }, &body)?;
        let mut reader = Reader::new(&reply.body);
        match reader.signature().as_deref() {
            Some("s") => reader.text().ok_or(BusError::Malformed),
            _ => Err(BusError::Malformed),
        }
    }

    fn call(&mut self, call: &Call<'_>, body: &Writer) -> Result<Received> {
        self.serial += 1;
        let serial = self.serial;
        self.send(&call.message(serial, body))?;
        loop {
            let received = self.receive()?;
            match received.kind {
                wire::METHOD_RETURN if received.reply_serial == serial => return Ok(received),
                wire::ERROR if received.reply_serial == serial => {
                    let message = Reader::new(&received.body).text().unwrap_or_default();
                    return Err(BusError::Refused { name: received.error, message });
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        Ok(self.stream.write_all(bytes)?)
    }

    /// One message; the end of a job is noted too.
    fn receive(&mut self) -> Result<Received> {
        let mut header = [0; FIXED_HEADER];
        self.read(&mut header)?;
        let len = wire::message_len(&header).ok_or(BusError::Malformed)?;
        let mut message = header.to_vec();
        message.resize(len, 0);
        self.read(message.get_mut(FIXED_HEADER..).unwrap_or_default())?;
        let received = Received::parse(&message).ok_or(BusError::Malformed)?;
        if received.kind == wire::SIGNAL && received.member == "JobRemoved" {
            // Number, job, unit, result (org.freedesktop.systemd1(5)).
            let mut reader = Reader::new(&received.body);
            if let (Some(_), Some(job), Some(_), Some(result)) =
                (reader.word(), reader.text(), reader.text(), reader.text())
            {
                self.ended.push((job, result));
            }
        }
        Ok(received)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.stream.set_read_timeout(Some(self.remaining()?))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => rest = rest.get_mut(read..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A line of the authentication.
    fn line(&mut self) -> Result<Vec<u8>> {
        const LONGEST: usize = 1024;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read(&mut byte)?;
            line.extend(byte);
            if line.len() > LONGEST {
                return Err(BusError::Malformed);
            }
        }
        Ok(line)
    }

    /// How long it may still take.
    fn remaining(&self) -> Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut).into()) } else { Ok(left) }
    }
}

/// The bus itself.
const OF_THE_BUS: Call<'static> = Call {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
    signature: "",
};

/// The manager of systemd (org.freedesktop.systemd1(5)).
const OF_SYSTEMD: Call<'static> = Call {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
    signature: "",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_bus_is_read_and_others_are_passed_over() {
        let path = |text| path_of_address(text).map(|path| path.display().to_string());
        assert_eq!(path("unix:path=/run/user/1000/bus").as_deref(), Some("/run/user/1000/bus"));
        assert_eq!(path("tcp:host=a;unix:guid=1,path=/b").as_deref(), Some("/b"));
        for text in ["", "unix:abstract=/tmp/x", "unix:path=/a%20b", "unixexec:path=/bin/sh"] {
            assert_eq!(path(text), None, "{text}");
        }
    }
}
