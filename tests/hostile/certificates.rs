//! The certificates that the servers show.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::server::Tls;

/// What servers can show, by name.
pub(crate) struct Certificates {
    configs: HashMap<&'static str, Arc<ServerConfig>>,
    /// The certificate of the authority behind `good`.
    pub(crate) root: String,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (root, filler) = (certificate.pem(), certificate.der().clone());
        let authority = Issuer::new(params, key);

        let mut configs = HashMap::new();
        for name in ["good", "expired", "wrong-name", "self-signed", "long-chain", "endless-chain"] {
            let host = if name == "wrong-name" { "other.example" } else { "127.0.0.1" };
            let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
            if name == "expired" {
                params.not_before = date_time_ymd(2011, 1, 1);
                params.not_after = date_time_ymd(2012, 10, 1);
            }
            let key = KeyPair::generate().unwrap();
            let leaf =
                if name == "self-signed" { params.self_signed(&key) } else { params.signed_by(&key, &authority) };
            let length = match name {
                "long-chain" => 60_000 / filler.len(),
                "endless-chain" => 1_000_000 / filler.len(),
                _ => 0,
            };
            let mut chain = vec![leaf.unwrap().der().clone()];
            chain.extend(std::iter::repeat_n(filler.clone(), length));
            configs.insert(name, config(chain, &key));
        }
        Self { configs, root }
    }

    /// Who shows the certificate called `name`, and the process that does, if it is another. None:
    /// it takes `openssl`, which is not there.
    pub(crate) fn show(&self, name: &str) -> Option<(Tls, Option<Openssl>)> {
        if let Some(config) = self.configs.get(name) {
            return Some((Tls::Config(Arc::clone(config)), None));
        }
        let openssl = Openssl::start(name)?;
        Some((Tls::At(openssl.address), Some(openssl)))
    }
}

fn config(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap());
    Arc::new(config.unwrap())
}

/// An `openssl s_server` that shows a certificate which no Rust library would, and after the
/// handshake says every line backwards.
pub(crate) struct Openssl {
    address: std::net::SocketAddr,
    child: Child,
    /// Kept open, or it would end where it writes.
    _output: BufReader<ChildStdout>,
}

impl Openssl {
    fn start(name: &str) -> Option<Self> {
        let file = format!("{}/tests/certs/{name}.pem", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new("openssl")
            .args(["s_server", "-rev", "-accept", "127.0.0.1:0", "-naccept", "1", "-cipher", "DEFAULT@SECLEVEL=0"])
            .args(["-cert", &file])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = output.by_ref().lines().map_while(Result::ok);
        let address = said.find_map(|line| line.strip_prefix("ACCEPT ").map(str::to_owned));
        Some(Self { address: address.expect("openssl accepts").parse().unwrap(), child, _output: output })
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
