//! Receivers that answer as they are told to, and write down what they hear.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mxprobe::probe::alert::{Mail, Receiver};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What one receiver heard: what it was about, and the key that tells one notice from another.
#[derive(Clone)]
pub(crate) enum Heard {
    Said(Arc<Mutex<Vec<(String, String)>>>),
    /// A program writes it into this file.
    Written(PathBuf),
}

impl Heard {
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        match self {
            Self::Said(said) => said.lock().unwrap().clone(),
            Self::Written(path) => {
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(|notice| about(&notice)).collect()
            }
        }
    }
}

pub(crate) struct Receivers {
    dir: PathBuf,
    count: usize,
    /// A certificate that holds for `localhost`, and one that nobody knows.
    known: rcgen::CertifiedKey<rcgen::KeyPair>,
    unknown: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Receivers {
    pub(crate) fn new(dir: &Path) -> Self {
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (known, unknown) = (made(), made());
        std::fs::write(dir.join("roots.pem"), known.cert.pem()).unwrap();
        Self { dir: dir.to_owned(), count: 0, known, unknown }
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.dir.join("roots.pem")
    }

    /// Opens a receiver of this kind.
    pub(crate) async fn open(&mut self, kind: &str, answers: Vec<String>) -> (Receiver, Heard) {
        self.count += 1;
        if kind == "command" {
            return self.command(&answers);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        if kind == "dead" {
            return (webhook(&format!("http://{at}/")), Heard::Said(Arc::default()));
        }
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Heard::Said(Arc::clone(&said));
        let port = at.port();
        let (receiver, tls) = match kind {
            "webhook" => (webhook(&format!("http://localhost:{port}/hook?token=1")), None),
            "alertmanager" => (webhook(&format!("http://{at}/api/v2/alerts")), None),
            "https" => (webhook(&format!("https://localhost:{port}/hook")), Some(acceptor(&self.known))),
            "untrusted" => (webhook(&format!("https://localhost:{port}/hook")), Some(acceptor(&self.unknown))),
            "misnamed" => (webhook(&format!("https://{at}/hook")), Some(acceptor(&self.known))),
            "mail" => (mail(at), None),
            other => panic!("no receiver is {other}"),
        };
        let is_mail = kind == "mail";
        tokio::spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                let answer = answers.get(number).or(answers.last()).cloned().unwrap_or_default();
                let (said, tls) = (Arc::clone(&said), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            let Ok(stream) = tls.accept(tcp).await else { return };
                            http(stream, &answer, &said).await;
                        }
                        None if is_mail => smtp(tcp, &answer, &said).await,
                        None => http(tcp, &answer, &said).await,
                    }
                });
            }
        });
        (receiver, heard)
    }

    /// A program that writes its input into a file and ends as it is told to: the answers are its
    /// exit statuses, one a call.
    fn command(&self, answers: &[String]) -> (Receiver, Heard) {
        let path = |name: &str| self.dir.join(format!("{}-{name}", self.count)).display().to_string();
        let script = "cat >>\"$0\"; n=$(wc -l <\"$0\"); shift $((n > $# ? $# - 1 : n - 1)); exit \"$1\"";
        let mut words: Vec<String> = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        words.push(path("heard"));
        words.extend(answers.iter().cloned());
        (Receiver::Command(words), Heard::Written(path("heard").into()))
    }
}

fn webhook(url: &str) -> Receiver {
    Receiver::Webhook(url.parse().unwrap())
}

fn mail(at: SocketAddr) -> Receiver {
    Receiver::Mail(Mail { to: "ops@example.net".parse().unwrap(), relay: at.to_string().parse().unwrap(), from: None })
}

fn acceptor(key: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What a notice is about, and its key.
fn about(notice: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(notice["incident"]["id"], 1, "{notice}");
    (text(&notice["change"]), text(&notice["notice"]))
}

type Said = Mutex<Vec<(String, String)>>;

/// One request, and the answer to it.
async fn http(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, said: &Said) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if header(head, "content-length").and_then(|length| length.parse().ok()).is_none_or(|n: usize| body.len() >= n)
        {
            break (head.to_owned(), body.to_owned());
        }
    };
    let json: Value = serde_json::from_str(&body).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default();
    assert!(head.starts_with("POST ") && header(&head, "content-type") == Some("application/json"), "{head}");
    let key = header(&head, "idempotency-key").unwrap_or_default().to_owned();
    let notice = if path == "/api/v2/alerts" {
        let alert = &json[0];
        assert_eq!(alert["labels"]["incident"], "1", "{alert}");
        assert!(!key.is_empty());
        let text = |name: &str| alert["annotations"][name].as_str().unwrap().to_owned();
        (text("change"), text("notice"))
    } else {
        assert_eq!(about(&json).1, key);
        about(&json)
    };
    said.lock().unwrap().push(notice);
    let response = match answer {
        "" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "reset" => return,
        "silent" => return tokio::time::sleep(Duration::from_mins(1)).await,
        "garbage" => "220 mail.example ESMTP\r\n".to_owned(),
        "endless" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(&b"x: y\r\n".repeat(1000)).await.is_ok() {}
            return;
        }
        "endless-body" => {
            let _ = stream.write_all(b"HTTP/1.1 503 no\r\n\r\n").await;
            while stream.write_all(&b"xxxx\r\n".repeat(1000)).await.is_ok() {}
            return;
        }
        code => {
            format!("HTTP/1.1 {code} so\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 9\r\n\r\nno\x1b[2J\r\n.")
        }
    };
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// One SMTP session: `answer` is `STAGE CODE` for what is refused.
async fn smtp(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, said: &Said) {
    let (refused, code) = answer.split_once(' ').unwrap_or(("", ""));
    let reply =
        |stage: &str, good: &str| if stage == refused { format!("{code} no\x1b[2J\r\n") } else { good.to_owned() };
    let mut bytes = Vec::new();
    let mut say = reply("banner", "220 relay.example\r\n");
    let (mut message, mut in_data) = (String::new(), false);
    loop {
        if stream.write_all(say.as_bytes()).await.is_err() {
            return;
        }
        let line = loop {
            if let Some(end) = bytes.iter().position(|&b| b == b'\n') {
                break String::from_utf8(bytes.drain(..=end).collect()).unwrap();
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        say = match line.trim_end() {
            "." if in_data => {
                in_data = false;
                said.lock().unwrap().push(told(&message));
                reply("end-of-data", "250 taken\r\n")
            }
            _ if in_data => {
                message += &line;
                String::new()
            }
            text if text.starts_with("EHLO probe.example") => reply("ehlo", "250 relay.example\r\n"),
            "MAIL FROM:<mxprobe@probe.example>" => reply("mail", "250 ok\r\n"),
            "RCPT TO:<ops@example.net>" => reply("rcpt", "250 ok\r\n"),
            "DATA" => {
                message.clear();
                in_data = refused != "data";
                reply("data", "354 go\r\n")
            }
            "QUIT" => "221 bye\r\n".to_owned(),
            other => panic!("the relay heard {other:?}"),
        };
    }
}

/// What a mail is about, and its Message-ID.
fn told(message: &str) -> (String, String) {
    let head = message.split_once("\r\n\r\n").unwrap().0.replace("\r\n ", " ").replace("\r\n\t", " ");
    assert!(!head.contains("Bcc") && !head.contains("QUIT"), "{head}");
    // The first line is no header to be left out here.
    let field = |name| header(&format!("\n{head}"), name).unwrap_or_else(|| panic!("no {name} in {head}")).to_owned();
    let subject = field("Subject");
    (subject.rsplit(' ').next().unwrap_or_default().to_owned(), field("Message-ID"))
}
