//! A PostgreSQL server for one test: Debian's, in a temporary directory, on a free port and on a socket next to its data.
//!
//! It can be stopped, killed, restarted and suspended. Root may not run it; then the user `postgres` does.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

/// Password of every user.
pub(crate) const PASSWORD: &str = "s3cret-of-the-test";

/// A running server. Stopped when dropped.
pub(crate) struct Cluster {
    dir: TempDir,
    port: u16,
}

/// How to stop a server.
#[derive(Clone, Copy)]
pub(crate) enum Stop {
    /// Closes connections and writes everything.
    Fast,
    /// Like `kill -9`: only what was committed is on disk.
    Immediate,
}

impl Cluster {
    /// A new server with TLS for the name `localhost`, by a new authority.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut this = Self { dir, port: 0 };
        this.initialise();
        // Another test may take the free port before the server does.
        for _ in 0..5 {
            this.port = free_port();
            let port = format!("port = {}\n", this.port);
            fs::write(this.data().join("postgresql.auto.conf"), port).unwrap();
            if this.starting().output().unwrap().status.success() {
                return this;
            }
        }
        this.up();
        this
    }

    fn initialise(&self) {
        let password = self.dir.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::create_dir(self.dir.path().join("run")).unwrap();
        certificates(self.dir.path());
        if let Some(id) = server_user() {
            for entry in fs::read_dir(self.dir.path()).unwrap() {
                chown(entry.unwrap().path(), Some(id), Some(id)).unwrap();
            }
            chown(self.dir.path(), Some(id), Some(id)).unwrap();
        }
        let pwfile = format!("--pwfile={}", password.display());
        let how =
            ["--username=gate", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync", &pwfile];
        run(server_program("initdb").arg("--pgdata").arg(self.data()).args(how));
        let mut settings = String::new();
        for line in [
            "listen_addresses = '127.0.0.1'",
            "fsync = off",
            "ssl = on",
            "max_connections = 200",
            "shared_buffers = 16MB",
        ] {
            writeln!(settings, "{line}").unwrap();
        }
        let here = self.dir.path().display();
        writeln!(settings, "unix_socket_directories = '{here}/run'").unwrap();
        writeln!(
            settings,
            "ssl_cert_file = '{here}/server.pem'\nssl_key_file = '{here}/server.key'"
        )
        .unwrap();
        let config = self.data().join("postgresql.conf");
        let before = fs::read_to_string(&config).unwrap();
        fs::write(config, before + &settings).unwrap();
    }

    /// Starts it again.
    pub(crate) fn up(&self) {
        run(&mut self.starting());
    }

    fn starting(&self) -> Command {
        let log = self.dir.path().join("run/log");
        let mut command = self.control("start");
        command.arg("--log").arg(log).arg("--wait");
        command
    }

    /// Stops it.
    pub(crate) fn down(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        run(self.control("stop").args(["--mode", mode, "--wait"]));
    }

    /// Restarts it as a standby, which accepts no changes.
    pub(crate) fn restart_as_standby(&self) {
        self.down(Stop::Fast);
        fs::write(self.data().join("standby.signal"), "").unwrap();
        self.up();
    }

    /// Suspends all its processes until the result is dropped.
    pub(crate) fn pause(&self) -> Pause {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let postmaster = pid.lines().next().unwrap().to_owned();
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", &postmaster]).output();
        let children = String::from_utf8(children.unwrap().stdout).unwrap();
        let mut pids = vec![postmaster];
        pids.extend(children.split_whitespace().map(str::to_owned));
        signal("-STOP", &pids);
        Pause(pids)
    }

    /// Creates a database on this server. Returns its name.
    pub(crate) fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("create database {name}"));
        name.to_owned()
    }

    /// The URL of `database`, over TCP with TLS.
    pub(crate) fn url(&self, database: &str) -> String {
        let authority = self.authority();
        format!(
            "postgres://gate:{PASSWORD}@localhost:{}/{database}?sslrootcert={}",
            self.port,
            authority.display()
        )
    }

    /// The URL of `database`, over the Unix socket.
    pub(crate) fn socket_url(&self, database: &str) -> String {
        let run = self.dir.path().join("run");
        format!(
            "postgres:///{database}?host={}&port={}&user=gate&password={PASSWORD}",
            run.display(),
            self.port
        )
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The authority of the server's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The result of `statement` in `database`: rows as lines, columns separated by `|`.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        let output = run(self.psql(database).arg("--command").arg(statement));
        output.trim_end_matches('\n').to_owned()
    }

    /// A `psql` session, for tests that hold a transaction open.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(program("psql"));
        let socket = self.dir.path().join("run");
        command
            .env("PGPASSWORD", PASSWORD)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username=gate"])
            .args(["--variable=ON_ERROR_STOP=1", "--dbname", database])
            .arg("--host")
            .arg(socket)
            .args(["--port", &self.port.to_string()]);
        command
    }

    fn control(&self, deed: &str) -> Command {
        let mut command = server_program("pg_ctl");
        command.arg(deed).arg("--silent").arg("--pgdata").arg(self.data());
        command.args(["--timeout", "60"]);
        command
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.control("stop").args(["--mode", "immediate"]).output();
    }
}

/// A suspended server.
pub(crate) struct Pause(Vec<String>);

impl Drop for Pause {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(name: &str, pids: &[String]) {
    // A process may have ended meanwhile.
    let _ = Command::new("kill").arg(name).args(pids).output();
}

/// Polls until `question` has a result.
pub(crate) fn until<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < end, "never came true: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// An authority, and its certificate for `localhost`.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let made = params.signed_by(&key, &authority).unwrap();
    fs::write(dir.join("server.pem"), made.pem()).unwrap();
    let path = dir.join("server.key");
    fs::write(&path, key.serialize_pem()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A program of the newest installed PostgreSQL.
fn program(name: &str) -> PathBuf {
    let output = Command::new("pg_config").arg("--bindir").output();
    let output = output.ok().filter(|output| output.status.success());
    let dir = output.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    versions.sort_by_key(|path| {
        path.parent().and_then(Path::file_name).and_then(OsStr::to_str).and_then(|v| v.parse().ok())
            as Option<u32>
    });
    let places = dir.into_iter().chain(versions.into_iter().rev());
    let found = places.map(|dir| dir.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {name} of PostgreSQL's: run tests/run"))
}

/// The same, run by a user who may run a server.
fn server_program(name: &str) -> Command {
    let program = program(name);
    let mut command = match server_user() {
        Some(id) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={id}")).arg(format!("--regid={id}")).arg("--clear-groups");
            command.arg("--").arg(program);
            command
        }
        None => Command::new(program),
    };
    command.current_dir("/").env("LC_ALL", "C");
    command
}

/// The user that runs the server if the tests run as root.
fn server_user() -> Option<u32> {
    let id = |arguments: &[&str]| {
        let id = run(Command::new("id").args(arguments));
        id.trim().parse::<u32>().unwrap()
    };
    (id(&["-u"]) == 0).then(|| id(&["-u", "postgres"]))
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let output = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {output} {}", String::from_utf8_lossy(&stderr));
    output
}
