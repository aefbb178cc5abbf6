//! An upgrade when clients have taken every descriptor that they may have.

use super::{start, until};
use crate::support::dashboard::{Dashboard, Mood};
use crate::support::gate::Builder;
use crate::support::http::request;
use crate::support::wire::Wire;

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
