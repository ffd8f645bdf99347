//! A client that asks DNS questions and writes the answers down.

use std::net::SocketAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData};
use mxprobe::smtp::dialog::escape;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{NOTHING, SOON};

/// Asks `udp|tcp NAME TYPE` and writes the answer down.
pub(super) async fn ask(server: SocketAddr, question: &str) -> String {
    let [transport, name, rtype]: [&str; 3] =
        question.split(' ').collect::<Vec<_>>().try_into().expect("transport, name and type");
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype.parse().unwrap()));
    let query = query.to_vec().unwrap();
    let answer = match transport {
        "udp" => {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.send_to(&query, server).await.unwrap();
            let mut answer = vec![0; 4096];
            let Ok(length) =
                timeout(if name.contains("silent") { NOTHING } else { SOON }, socket.recv(&mut answer)).await
            else {
                return "= silence".to_owned();
            };
            answer.truncate(length.unwrap());
            answer
        }
        "tcp" => {
            let mut stream = TcpStream::connect(server).await.unwrap();
            let length = u16::try_from(query.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &query].concat()).await.unwrap();
            let length = timeout(SOON, stream.read_u16()).await.unwrap().unwrap();
            let mut answer = vec![0; length.into()];
            stream.read_exact(&mut answer).await.unwrap();
            answer
        }
        other => panic!("{other} is neither udp nor tcp"),
    };
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, 7);
    let mut text = format!("= {:?}", answer.metadata.response_code).to_lowercase();
    for (set, flag) in [(answer.metadata.authoritative, " aa"), (answer.metadata.truncation, " tc")] {
        text += if set { flag } else { "" };
    }
    let mut lines: Vec<_> = answer
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::TXT(data) => {
                let strings: Vec<_> = data.txt_data.iter().map(|string| escape(string)).collect();
                format!("{} {} TXT {strings:?}", record.name, record.ttl)
            }
            _ => record.to_string(),
        })
        .collect();
    lines.sort();
    lines.extend(answer.authorities.iter().map(|record| format!("authority {} {}", record.name, record.record_type())));
    [text, lines.join("\n")].join(if lines.is_empty() { "" } else { "\n" })
}
