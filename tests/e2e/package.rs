//! The Debian package: lintian finds no error, and it installs, runs, is upgraded, removed and purged in a container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::deploy::output;
use crate::process::tool;

/// The package of the program under test, in `directory`.
fn build(directory: &Path, version: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy/debian/build");
    let path = std::env::join_paths(
        [tool("bin")].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let mut command = Command::new(script);
    command.arg("dev").arg(directory).arg(version).env("PATH", path.unwrap());
    output(&mut command);
    directory.join(format!("license-gate_{version}_amd64.deb"))
}

/// Runs `script` in the directory `package` as root, in a container with systemd that has only a loopback interface.
fn in_debian(package: &Path, script: &str) -> String {
    let program = "systemd-nspawn";
    let mut command = Command::new(if geteuid().is_root() { program } else { "sudo" });
    if !geteuid().is_root() {
        command.args(["-n", program]);
    }
    let console = package.join("console.log");
    let log = fs::File::create(&console).unwrap();
    command
        .args(["--quiet", "--register=no", "--keep-unit", "--private-network"])
        // What is written goes to memory.
        .arg("--volatile=overlay")
        .arg(format!("--directory={}", tool("debian").display()))
        .arg(format!("--bind-ro={}:/package", package.display()))
        .args(["--boot", &format!("systemd.run=/package/{script}")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    let status = command.status().expect("systemd-nspawn: run tests/run");
    let text = String::from_utf8_lossy(&fs::read(console).unwrap()).into_owned();
    assert!(status.success(), "{status}\n{text}");
    text
}

#[test]
#[ignore = "takes root, a container and minutes: `tests/run --long` has it"]
fn the_package_works_from_its_installation_to_its_purge() {
    let dir = tempfile::tempdir().unwrap();
    // The first one is restarted at an upgrade, the others are not.
    let versions = [("0.1.0-1", "old.deb"), ("0.2.0-1", "new.deb"), ("0.2.1-1", "newer.deb")];
    let packages = versions.map(|(version, name)| (build(dir.path(), version), name));
    output(Command::new("lintian").arg("--fail-on=error").arg(&packages[2].0));
    for (package, name) in &packages {
        symlink(package.file_name().unwrap(), dir.path().join(name)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/package.sh");
    fs::copy(script, dir.path().join("script")).unwrap();
    let console = in_debian(dir.path(), "script");
    assert!(console.contains("ok: nothing is left"), "{console}");
}
