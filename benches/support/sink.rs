//! Postfix's `smtp-sink`, which takes whatever is sent to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::peers::peer;

/// An `smtp-sink` that is up; dropping it ends its process.
pub(crate) struct Sink {
    process: Child,
    pub(crate) at: SocketAddr,
}

impl Sink {
    pub(crate) fn start(address: Ipv4Addr) -> io::Result<Self> {
        let at = TcpListener::bind((address, 0))?.local_addr()?;
        let mut command = Command::new(peer("smtp-sink", "postfix")?);
        if std::fs::metadata("/proc/self")?.uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        // The limits are sessions at once and connections that wait to be accepted.
        let process = command.args(["-m", "5000", &at.to_string(), "4000"]).stdout(Stdio::null()).spawn()?;
        let sink = Self { process, at };
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("smtp-sink does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(sink)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
