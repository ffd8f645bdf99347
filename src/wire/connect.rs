//! Opening a connection, and telling our own faults from theirs.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use crate::words::words;

/// Why there is no connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConnectFault {
    /// Nobody listens there (RST).
    Refused,
    /// The network says that it cannot be reached (ICMP, or no answer to ARP): the system's words.
    Unreachable(String),
    /// The kernel gave up before the caller did.
    TimedOut,
    /// Our own fault, and what exactly.
    Local(LocalFault, String),
}

words! {
    /// What on this host stands in the way of a connection.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum LocalFault ("local fault") {
        /// The source address is not on this host.
        NotOurs = "not-ours",
        /// The source cannot reach that destination: loopback to elsewhere, or the other family.
        WrongSource = "wrong-source",
        /// No route, no network.
        NoRoute = "no-route",
        /// Out of file descriptors or memory.
        Descriptors = "descriptors",
        /// Out of local ports.
        Ports = "ports",
        /// A local firewall or policy.
        Denied = "denied",
        /// Anything else.
        Other = "other",
    }
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable(detail) | Self::Local(_, detail) => f.write_str(detail),
            Self::TimedOut => f.write_str("connection timed out in the kernel"),
        }
    }
}

/// Connects from `source`, or from the address that the kernel picks.
///
/// # Errors
///
/// Whatever kept the connection from coming about; the contract's ending kinds keep the variants
/// apart.
pub async fn connect(source: Option<IpAddr>, to: SocketAddr) -> Result<TcpStream, ConnectFault> {
    if let Some(source) = source
        && source.is_ipv4() != to.is_ipv4()
    {
        let detail = format!("{source} cannot reach {}: different address families", to.ip());
        return Err(ConnectFault::Local(LocalFault::WrongSource, detail));
    }
    let (tcp, under_way) = begin(source, to)?;
    if under_way {
        answered(&tcp).await.map_err(|e| later(&e, to))?;
    }
    Ok(tcp)
}

/// Whether this host has an address, found out by binding a socket to it.
///
/// # Errors
///
/// Why the socket could not be bound; [`io::ErrorKind::AddrNotAvailable`] where the address is not
/// this host's.
pub fn bound(source: IpAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(SocketAddr::new(source, 0)), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// What has become of the way from `source` to `to` since it was taken: null = it is still there, as
/// far as this host can tell. The kernel is asked for it by way of a UDP socket; nothing is sent.
#[must_use]
pub fn lost(source: IpAddr, to: SocketAddr) -> Option<String> {
    let ask = || {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&to.into())
    };
    match ask() {
        Err(e) if e.kind() == io::ErrorKind::AddrNotAvailable => {
            Some(format!("{source} is no longer an address of this host"))
        }
        Err(e) => match at_once(&e, Some(source), to) {
            ConnectFault::Local(LocalFault::NoRoute, detail) => Some(detail),
            _ => None,
        },
        Ok(()) => None,
    }
}

/// Waits for what the network has to say. Whoever resets has accepted before, for the answer to a
/// SYN is "refused": that was a connection, and what was said on it is there to be read.
async fn answered(tcp: &TcpStream) -> io::Result<()> {
    tcp.writable().await?;
    let error = SockRef::from(tcp).take_error()?;
    let error = error.filter(|e| !matches!(e.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
    error.map_or(Ok(()), Err)
}

/// Everything up to the SYN, and whether an answer to it is still to come.
fn begin(source: Option<IpAddr>, to: SocketAddr) -> Result<(TcpStream, bool), ConnectFault> {
    let other = |e: io::Error| at_once(&e, source, to);
    let stream = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(to), stream, Some(Protocol::TCP)).map_err(other)?;
    socket.set_tcp_nodelay(true).map_err(other)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(|e| match e.kind() {
            io::ErrorKind::AddrNotAvailable => {
                ConnectFault::Local(LocalFault::NotOurs, format!("{source} is not an address of this host"))
            }
            _ => at_once(&e, Some(source), to),
        })?;
    }
    let under_way = match socket.connect(&to.into()) {
        Ok(()) => false,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(EINPROGRESS) => true,
        Err(e) => return Err(at_once(&e, source, to)),
    };
    Ok((TcpStream::from_std(socket.into()).map_err(other)?, under_way))
}

// The few numbers that `io::ErrorKind` has no name for: Linux's, or the BSDs' and Apple's.
const LINUX: bool = cfg!(any(target_os = "linux", target_os = "android"));
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EAFNOSUPPORT: i32 = if LINUX { 97 } else { 47 };
const ENOBUFS: i32 = if LINUX { 105 } else { 55 };
const EINPROGRESS: i32 = if LINUX { 115 } else { 36 };

/// An error that the kernel gave before anything was sent.
fn at_once(e: &io::Error, source: Option<IpAddr>, to: SocketAddr) -> ConnectFault {
    use io::ErrorKind as Kind;
    let to = to.ip();
    let from = source.map_or_else(String::new, |source| format!(" from {source}"));
    let (fault, detail) = match (e.kind(), e.raw_os_error()) {
        // Loopback may answer the SYN before `connect` returns.
        (Kind::ConnectionRefused, _) => return ConnectFault::Refused,
        (Kind::HostUnreachable, _) => return ConnectFault::Unreachable(e.to_string()),
        (Kind::TimedOut, _) => return ConnectFault::TimedOut,
        (Kind::NetworkUnreachable | Kind::NetworkDown, _) => {
            (LocalFault::NoRoute, format!("no route{from} to {to}: {e}"))
        }
        (Kind::InvalidInput, _) if source.is_some_and(|ip| ip.is_loopback()) && !to.is_loopback() => {
            (LocalFault::WrongSource, format!("a loopback source{from} cannot reach {to}"))
        }
        (Kind::AddrNotAvailable | Kind::AddrInUse, _) => {
            (LocalFault::Ports, format!("no local port left{from} to {to}: {e}"))
        }
        (Kind::OutOfMemory, _) | (_, Some(EMFILE | ENFILE | ENOBUFS)) => {
            (LocalFault::Descriptors, format!("no socket to be had: {e}"))
        }
        (Kind::PermissionDenied, _) => (LocalFault::Denied, format!("this host does not allow it{from} to {to}: {e}")),
        (_, Some(EAFNOSUPPORT)) => {
            (LocalFault::NoRoute, format!("this host has no such address family as {to}'s: {e}"))
        }
        _ => (LocalFault::Other, format!("cannot connect{from} to {to}: {e}")),
    };
    ConnectFault::Local(fault, detail)
}

/// An error that came while the answer was awaited. A router's "network unreachable" has the same
/// number as a missing route of ours; it is theirs because it came later.
fn later(e: &io::Error, to: SocketAddr) -> ConnectFault {
    use io::ErrorKind as Kind;
    match e.kind() {
        Kind::ConnectionRefused => ConnectFault::Refused,
        Kind::TimedOut => ConnectFault::TimedOut,
        // ICMP "administratively prohibited" and "protocol unreachable" come as various numbers.
        _ => ConnectFault::Unreachable(format!("{} cannot be reached: {e}", to.ip())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_comes_from_the_source_that_was_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source: IpAddr = "127.0.0.5".parse().unwrap();
        let tcp = connect(Some(source), listener.local_addr().unwrap()).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!((peer, peer.ip()), (tcp.local_addr().unwrap(), source));
        assert!(tcp.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_connection_that_is_reset_at_once_was_one() {
        use tokio::io::AsyncReadExt as _;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut tcp, under_way) = begin(None, listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        io::Write::write_all(&mut server, b"421 no\r\n").unwrap();
        SockRef::from(&server).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(server);
        assert!(under_way, "or there is nothing to see");
        answered(&tcp).await.unwrap();
        let mut said = String::new();
        tcp.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "421 no\r\n");
    }

    #[tokio::test]
    async fn faults_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dead = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(connect(None, dead).await.unwrap_err(), ConnectFault::Refused);
        for (source, to, fault, detail) in [
            ("192.0.2.7", "127.0.0.1:25", LocalFault::NotOurs, "192.0.2.7 is not an address of this host"),
            ("127.0.0.2", "192.0.2.1:25", LocalFault::WrongSource, "a loopback source from 127.0.0.2"),
            ("::1", "127.0.0.1:25", LocalFault::WrongSource, "different address families"),
        ] {
            let found = connect(Some(source.parse().unwrap()), to.parse().unwrap()).await.unwrap_err();
            let ConnectFault::Local(kind, text) = &found else { panic!("{source} to {to}: {found:?}") };
            assert!(*kind == fault && text.contains(detail), "{source} to {to}: {found:?}");
        }
    }

    #[test]
    fn an_address_that_is_not_here_is_lost_and_a_port_where_nobody_is_changes_nothing() {
        let lost = |source: &str, to: &str| lost(source.parse().unwrap(), to.parse().unwrap());
        assert_eq!(lost("127.0.0.5", "127.0.0.1:1"), None);
        assert_eq!(lost("192.0.2.7", "127.0.0.1:1").unwrap(), "192.0.2.7 is no longer an address of this host");
        // What was never a way is not lost.
        assert_eq!(lost("127.0.0.5", "192.0.2.1:25"), None);
    }

    #[test]
    fn who_says_unreachable_decides_whose_fault_it_is() {
        let to: SocketAddr = "192.0.2.1:25".parse().unwrap();
        let error = io::Error::from;
        let [network, host] = [io::ErrorKind::NetworkUnreachable, io::ErrorKind::HostUnreachable];
        assert!(matches!(at_once(&error(network), None, to), ConnectFault::Local(LocalFault::NoRoute, _)));
        assert!(matches!(later(&error(network), to), ConnectFault::Unreachable(_)));
        assert!(matches!(at_once(&error(host), None, to), ConnectFault::Unreachable(_)));
        let descriptors = io::Error::from_raw_os_error(EMFILE);
        assert!(matches!(at_once(&descriptors, None, to), ConnectFault::Local(LocalFault::Descriptors, _)));
        let denied = error(io::ErrorKind::PermissionDenied);
        assert!(matches!(at_once(&denied, None, to), ConnectFault::Local(LocalFault::Denied, _)));
    }
}
