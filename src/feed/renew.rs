//! Renewing by hand: the license in force goes to the issuer, what comes back takes its place.
//!
//! One at a time, on the control runtime, to its end even if whoever asked has left. The license stays in force, and
//! changes by hand stay possible, while the issuer thinks; its answer is dropped when there was one (`store::Origin`).

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinError;

use super::issuer::{self, Issuer};
use crate::store::{InstallError, Origin, Reader, Snapshot, Writer};

/// Why a license was not renewed. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// `renewal.url` is not set.
    #[error("renewal is off")]
    Off,
    /// There is nothing to renew.
    #[error("there is no license to renew")]
    NoLicense,
    /// The issuer gave no token.
    #[error("the issuer gave no license")]
    Issuer(#[from] issuer::Error),
    /// The issuer's token was not installed.
    #[error("the issuer's license was not installed")]
    Install(#[source] InstallError),
    /// The renewal ended early: the gate is stopping, or a defect.
    #[error("the renewal was interrupted")]
    Interrupted(#[source] JoinError),
}

/// Renews the license in force when told to.
#[derive(Clone, Debug)]
pub struct Renewal {
    issuer: Option<Arc<Issuer>>,
    reader: Reader,
    writer: Writer,
    turn: Arc<Mutex<()>>,
    control: Handle,
}

impl Renewal {
    /// Renewal by `issuer`; `None`: off. The calls run on `control`.
    pub fn new(issuer: Option<Issuer>, reader: Reader, writer: Writer, control: Handle) -> Self {
        Self { issuer: issuer.map(Arc::new), reader, writer, turn: Arc::default(), control }
    }

    /// Asks the issuer and installs what it answers.
    ///
    /// # Errors
    ///
    /// See [`RenewError`].
    pub async fn renew(&self) -> Result<Arc<Snapshot>, RenewError> {
        let Some(issuer) = self.issuer.clone() else { return Err(RenewError::Off) };
        let this = self.clone();
        let task = self.control.spawn(async move { this.renew_from(&issuer).await });
        task.await.map_err(RenewError::Interrupted)?
    }

    async fn renew_from(&self, issuer: &Issuer) -> Result<Arc<Snapshot>, RenewError> {
        let _turn = self.turn.lock().await;
        let before = self.reader.snapshot();
        let license = before.license().ok_or(RenewError::NoLicense)?;
        let token = issuer.ask(license, &before.policy().root_url).await.token?;
        let by = Origin::Renewal { started_at_revision: before.revision() };
        self.writer.install(token, by).await.map_err(RenewError::Install)
    }
}
