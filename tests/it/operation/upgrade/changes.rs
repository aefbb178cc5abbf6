//! What an upgrade may change, and what it leaves behind.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Program, Upgraded, runs, start, state, until};
use crate::support::dashboard::{Dashboard, Mood};
use crate::support::gate::{Builder, Gate};
use crate::support::http::request;
use crate::support::origin::Origin;
use crate::support::wire::Wire;

impl Upgraded<Gate> {
    /// Replaces text in the configuration.
    #[track_caller]
    fn edit(&self, from: &str, to: &str) {
        let path = self.dir().join("gate.toml");
        let before = fs::read_to_string(&path).expect("a configuration");
        assert!(before.contains(from), "no {from} in {before}");
        fs::write(path, before.replace(from, to)).expect("written");
    }
}

fn gate() -> Builder {
    Builder::before(Origin::vacant())
}

/// Addresses that are free now. No other test uses this one, so they stay free.
fn free<const N: usize>() -> [SocketAddr; N] {
    let bound = [(); N].map(|()| TcpListener::bind("127.11.7.3:0").expect("a port"));
    bound.map(|listener| listener.local_addr().expect("an address"))
}

fn answers(address: SocketAddr) -> bool {
    request(address, "GET", "/x").try_send().is_some_and(|answer| answer.status == 502)
}

#[test]
fn addresses_can_be_added_removed_and_moved() {
    let [kept, removed, added, moved, former_admin, admin] = free();
    let dir = tempfile::tempdir().expect("a directory");
    let [old, same, new] = ["old", "same", "new"].map(|name| dir.path().join(name));
    let listen = format!(
        "['{kept}', '{removed}', '{moved}', 'unix:{}', 'unix:{}']",
        old.display(),
        same.display()
    );
    let gate = start(
        gate()
            .set("server.listen", &listen)
            .set("server.root_url", "'https://x.example/'")
            .set("server.workers", 3)
            .set("admin.listen", format!("'{former_admin}'")),
    );
    assert!([kept, removed, moved].into_iter().all(answers));
    let now = format!(
        "['{added}', '{kept}', 'unix:{}', 'unix:{}']\nserver.redirect = ['{moved}']",
        same.display(),
        new.display()
    );
    gate.edit(&listen, &now);
    gate.edit("server.workers = 3", "server.workers = 1");
    gate.edit(&former_admin.to_string(), &admin.to_string());
    // A request that is in flight on the removed address is answered.
    let mut begun = Wire::connect(removed);
    begun.send("GET /x HTTP/1.1\r\n");
    gate.upgrade();
    begun.send("Host: x\r\n\r\n");
    assert_eq!(begun.answer().status(), 502);
    assert!([kept, added].into_iter().all(answers));
    until("the removed addresses are closed", || {
        TcpStream::connect(removed).is_err() && TcpStream::connect(former_admin).is_err()
    });
    until("the moved address redirects", || {
        request(moved, "GET", "/x").try_send().is_some_and(|answer| answer.status == 308)
    });
    assert!(TcpStream::connect(admin).is_ok());
    until("the file of the removed socket is gone", || !old.exists());
    UnixStream::connect(&same).expect("connected");
    UnixStream::connect(&new).expect("connected");
    // More workers, and back.
    gate.edit("server.workers = 1", "server.workers = 4");
    gate.upgrade();
    for _ in 0..50 {
        assert!(answers(kept) && answers(added));
    }
    gate.edit(&now, &listen);
    gate.upgrade();
    until("the address does not redirect any more", || answers(moved));
    assert!(answers(kept) && answers(removed));
}

#[test]
fn ports_that_the_system_has_chosen_are_kept() {
    let gate = gate()
        .set("server.listen", "['127.0.0.1:0', '127.0.0.1:0', '[::1]:0', '127.0.0.1:0']")
        .set("server.workers", 2);
    let gate = start(gate);
    let addresses = |line: &str| -> Vec<String> {
        line.split(|c: char| c == '"' || c == ',' || c.is_whitespace())
            .filter(|word| word.starts_with("http://"))
            .map(str::to_owned)
            .collect()
    };
    let before = addresses(&gate.log().wait_for("listening"));
    assert_eq!(before.len(), 4, "{before:?}");
    for nth in 2..4 {
        gate.upgrade();
        assert_eq!(addresses(&gate.log().wait_for_another("listening", nth)), before);
    }
    for address in before {
        assert!(answers(address.trim_start_matches("http://").parse().expect("an address")));
    }
}

#[test]
fn sockets_from_systemd_are_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gate = gate().set("server.listen", "['systemd:web', '127.0.0.1:0']");
    let gate = Upgraded { gate: gate.passing("web", listener).start(), program: Program::new() };
    for _ in 0..2 {
        gate.upgrade();
        assert!(answers(gate.address));
    }
}

#[test]
fn ten_upgrades_leave_no_descriptor_and_no_process() {
    let gate = start(gate().set("server.workers", 2).set("admin.listen", "'127.0.0.1:0'"));
    let descriptors =
        |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count();
    let mut counts = Vec::new();
    let mut pids = vec![gate.pid()];
    for _ in 0..10 {
        let pid = gate.upgrade();
        assert!(answers(gate.address));
        until("descriptors are as at first", || {
            counts.first().is_none_or(|first| descriptors(pid) <= *first)
        });
        counts.push(descriptors(pid));
        pids.push(pid);
    }
    let last = pids.pop().expect("one");
    for pid in pids {
        until("the former process has ended", || !runs(pid));
    }
    assert!(runs(last));
}

#[test]
fn a_process_that_stays_for_a_tunnel_leaves_no_zombie() {
    let dir = tempfile::tempdir().expect("a directory");
    let (gate, ..) = super::traffic::gate(dir.path(), std::time::Duration::ZERO);
    let gate = start(gate);
    let stop = Arc::new(AtomicBool::new(false));
    let live = super::traffic::held(gate.address, stop.clone());
    let first = gate.pid();
    let second = gate.upgrade();
    let third = gate.upgrade();
    until("the second process is gone", || state(second).is_none());
    assert!(runs(first) && runs(third));
    assert!(!live.is_finished());
    // It then stops as at any time.
    gate.signal("TERM");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    until("the first process has ended", || !runs(first));
    assert!(runs(third) && answered(gate.address));
}

fn answered(address: SocketAddr) -> bool {
    request(address, "GET", "/x").try_send().is_some_and(|answer| answer.status == 200)
}

#[test]
fn the_program_is_found_by_the_name_it_was_started_with() {
    for script in [
        // A shell passes these names on.
        "cd \"${1%/*}\"; shift; exec ./license-gate \"$@\"",
        "PATH=\"${1%/*}:$PATH\"; shift; exec license-gate \"$@\"",
        "exec \"$@\"",
    ] {
        let program = Program::new();
        let path = program.path();
        let gate = gate().through(&["bash", "-c", script, "bash"]).program(&path).start();
        let gate = Upgraded { gate, program };
        gate.upgrade();
        // The link now leads elsewhere.
        gate.program.is_script("exit 7");
        assert!(gate.fails().contains("exit status: 7"), "{script}");
        gate.program.is_good();
        gate.upgrade();
    }
}

#[test]
fn a_link_that_leads_elsewhere_while_the_new_process_starts_counts_at_the_next_upgrade() {
    let gate = start(gate());
    // The gate under the name of the link, which does not lead to it.
    gate.program.is_script("exec -a $0 $GATE \"$@\"");
    gate.upgrade();
    gate.program.is_script("exit 7");
    assert!(gate.fails().contains("exit status: 7"));
    gate.program.is_good();
    gate.upgrade();
}

#[test]
fn process_1_refuses_with_the_reason() {
    // Only where user namespaces are allowed.
    let unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    let works = std::process::Command::new(unshare[0]).args(&unshare[1..]).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return;
    }
    let gate = gate().through(&unshare).start();
    let children = format!("/proc/{0}/task/{0}/children", gate.pid());
    let child = fs::read_to_string(children).expect("a child").trim().parse().expect("a number");
    crate::support::gate::signal(child, "USR2");
    let line = gate.log().wait_for(super::FAILED);
    assert!(line.contains("start another container"), "{line}");
    assert!(answers(gate.address));
}

/// When clients have taken every descriptor that they may have.
#[test]
fn an_upgrade_needs_no_descriptor_of_the_clients() {
    const LISTENERS: usize = 12;
    let dashboard = Dashboard::knowing(&[]);
    dashboard.mood("/held", Mood::Holds);
    let listen = ["'127.0.0.1:0'"; LISTENERS].join(", ");
    let gate = Builder::before(dashboard.address)
        .set("server.listen", format!("[{listen}]"))
        .set("server.workers", 6)
        .set("admin.listen", "'127.0.0.1:0'");
    // The program is a link, which `limited` does not start: the limits are those of a shell.
    let gate = gate.through(&["prlimit", "--nofile=720:720"]);
    let gate = start(gate);
    let line = gate.lines().wait_for("event=descriptors.short");
    let clients = line.rsplit("clients=").next().and_then(|n| n.trim().parse().ok());
    let clients: usize = clients.expect("a number");
    assert!(clients > 40, "{clients}");
    let mut asking: Vec<_> = (0..clients).map(|_| Wire::connect(gate.address)).collect();
    asking.iter_mut().for_each(|client| client.get("/held"));
    dashboard.wait_for("/held", clients);
    // Those beyond are turned away, and every place of the admin listener is taken.
    let idle: Vec<_> = (0..64).map(|_| Wire::connect(gate.admin())).collect();
    let refused: Vec<_> = (0..40).map(|_| Wire::connect(gate.address)).collect();
    gate.lines().wait_for("event=connections.full");
    gate.upgrade();
    drop((idle, refused));
    dashboard.release();
    for client in &mut asking {
        assert_eq!(client.answer().status(), 200);
    }
    let is_served = || request(gate.address, "GET", "/x").try_send().is_some();
    until("the new process serves", is_served);
    // A new process with fewer workers gets all sockets, and passes them on too.
    gate.configure(&[("server.workers", "1")]);
    gate.upgrade();
    gate.upgrade();
    assert!(is_served());
    assert_eq!(gate.lines().count("Too many open files"), 0);
}
