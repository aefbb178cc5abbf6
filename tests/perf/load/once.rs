//! One connection per request.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::pace::{Pace, Turns};

pub(crate) async fn load(
    target: SocketAddr,
    path: String,
    certificate: Option<PathBuf>,
    pace: Pace,
) -> anyhow::Result<u64> {
    let request: Arc<str> =
        format!("GET {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").into();
    let tls = certificate.as_deref().map(connector).transpose()?;
    pace.run(|turns| requests(target, request.clone(), tls.clone(), turns)).await
}

async fn requests(
    target: SocketAddr,
    request: Arc<str>,
    tls: Option<TlsConnector>,
    turns: Turns,
) -> anyhow::Result<()> {
    while turns.take() {
        let socket = TcpStream::connect(target).await?;
        socket.set_nodelay(true)?;
        match &tls {
            None => exchange(socket, &request).await?,
            Some(tls) => {
                let stream = tls.connect(target.ip().into(), socket).await?;
                let kind = stream.get_ref().1.handshake_kind();
                ensure!(kind == Some(HandshakeKind::Full), "the handshake was {kind:?}");
                exchange(stream, &request).await?;
            }
        }
        turns.complete();
    }
    Ok(())
}

/// One request. Reads to the end of the connection, and checks that it was a complete response with status 200.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> anyhow::Result<()> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        match stream.read_buf(&mut answer).await {
            Ok(0) => break,
            Ok(_) => {}
            // The connection ended without close_notify: the length below shows whether the response is complete.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(&answer)? else {
        anyhow::bail!("the answer was cut after {} bytes", answer.len());
    };
    ensure!(head.code == Some(200), "status {:?}", head.code);
    let announced =
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let announced: usize =
        std::str::from_utf8(announced.context("no Content-Length")?.value)?.parse()?;
    ensure!(answer.len() == length + announced, "{} bytes of {announced}", answer.len() - length);
    Ok(())
}

/// One version, suite and group: those that OpenSSL's clients prefer, so that every proxy does the same work.
fn connector(certificate: &Path) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
