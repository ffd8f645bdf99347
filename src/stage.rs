//! The stages of a delivery attempt, in the order in which they happen.

use crate::words::words;

words! {
    /// A place in a delivery attempt where the other side can answer, refuse or fall silent.
    ///
    /// The order of the variants is the order of the protocol (RFC 5321, section 3; RFC 3207), so
    /// "how far did it get" is a `max` and "before the envelope" is a comparison.
    #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
    pub enum Stage ("stage") {
        /// Looking up the domain's mail exchangers and their addresses.
        Resolve = "resolve",
        /// Opening the TCP connection.
        Connect = "connect",
        /// The server's greeting.
        Banner = "banner",
        /// `EHLO` in the clear, or the `HELO` that follows a refused one.
        Ehlo = "ehlo",
        /// The `STARTTLS` command and its reply.
        StartTls = "starttls",
        /// The TLS handshake.
        Tls = "tls",
        /// `EHLO` repeated under TLS.
        EhloTls = "ehlo-tls",
        /// `AUTH`: only in reports read from others, a session never enters it.
        Auth = "auth",
        /// `MAIL FROM`.
        Mail = "mail",
        /// `RCPT TO`.
        Rcpt = "rcpt",
        /// The `DATA` command and its 354.
        Data = "data",
        /// From the first byte of the message to the reply to its final dot.
        EndOfData = "end-of-data",
        /// `QUIT`.
        Quit = "quit",
    }
}

impl Stage {
    /// The stages that a session can be told to stop after, in order.
    pub const STOPS: [Self; 10] = [
        Self::Connect,
        Self::Banner,
        Self::Ehlo,
        Self::StartTls,
        Self::Tls,
        Self::EhloTls,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::EndOfData,
    ];
}
