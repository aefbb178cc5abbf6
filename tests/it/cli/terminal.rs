//! Commands at a terminal: `script(1)` provides one.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::support::gate::PATIENCE;
use crate::support::program::Place;
use crate::support::scene::{Scene, jti};
use crate::support::vendor::ROOT_URL;

/// A shell at a terminal of its own. Killed when dropped.
struct Session {
    child: Child,
    keyboard: ChildStdin,
    pieces: Receiver<Vec<u8>>,
    /// Everything that the terminal has shown.
    shown: String,
    /// How much of it has been awaited.
    passed: usize,
}

impl Session {
    /// Runs `command` with `sh`, and then shows its exit code and whether the terminal shows what is typed.
    fn run(place: &Place, environment: &[(&str, &str)], command: &str) -> Self {
        let whole = format!(
            "trap : INT; {command}; echo \"code $?\"; stty -a | tr ' ;' '\\n\\n' | grep -x -e '-*echo' -e '-*icanon' -e '-*isig'; echo end"
        );
        let program = env!("CARGO_BIN_EXE_license-gate");
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &whole, "/dev/null"])
            .current_dir(place.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("SHELL", "/bin/sh")
            .env("GATE", program)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script(1)");
        let keyboard = child.stdin.take().expect("piped");
        let mut screen = child.stdout.take().expect("piped");
        let (sender, pieces) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut piece) {
                if sender.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, pieces, shown: String::new(), passed: 0 }
    }

    /// Waits until the terminal shows `text`, after what was awaited before.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown[self.passed..].find(text) {
                self.passed += at + text.len();
                return;
            }
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(piece) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
                Err(error) => panic!("no {text:?} ({error}) in\n{}", self.shown),
            }
        }
    }

    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("typed");
    }

    /// Waits for the exit code, and checks that the terminal is as it was.
    #[track_caller]
    fn ends(mut self, code: i32) -> String {
        self.shows(&format!("code {code}\r\n"));
        for mode in ["isig", "icanon", "echo"] {
            let mode = format!("\n{mode}\r");
            // The order of stty, which is that of `isig icanon … echo`.
            self.passed -= 1;
            self.shows(&mode);
        }
        self.shows("end");
        std::mem::take(&mut self.shown)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_password_is_not_shown_and_signs_in() {
    let scene = Scene::new();
    let url = format!("http://{}/", scene.gate.address);
    let place = Place::new();
    let mut session = Session::run(&place, &[("LICENSE_GATE_URL", &url)], "\"$GATE\" license show");
    session.shows("User at 127.0.0.1:");
    session.types("admin\n");
    session.shows("Password of admin at 127.0.0.1:");
    session.shows(": ");
    session.types("hunter2\n");
    session.shows("not found: there is no license");
    let shown = session.ends(0);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn ctrl_c_restores_the_terminal() {
    let scene = Scene::new();
    let url = format!("http://{}/", scene.gate.address);
    let place = Place::new();
    let environment = [("LICENSE_GATE_URL", &*url), ("LICENSE_GATE_USER", "admin")];
    for (command, prompt) in [
        ("\"$GATE\" license show", "Password of admin at 127.0.0.1"),
        ("\"$GATE\" hash-password", "Password: "),
    ] {
        let mut session = Session::run(&place, &environment, command);
        session.shows(prompt);
        session.types("hunt\x03");
        let shown = session.ends(130);
        assert!(!shown.contains("hunt"), "{shown}");
    }
    // The end of the input is no password.
    let mut session = Session::run(&place, &environment, "\"$GATE\" license show");
    session.shows("Password of admin");
    session.types("\x04");
    session.ends(1);
}

#[test]
fn a_hashed_password_is_entered_twice() {
    let place = Place::new();
    for (second, code, message) in
        [("hunter2", 0, "$argon2id$"), ("hunter3", 1, "the two passwords differ")]
    {
        let mut session = Session::run(&place, &[], "\"$GATE\" hash-password");
        session.shows("Password: ");
        session.types("hunter2\n");
        session.shows("Repeat the password: ");
        session.types(&format!("{second}\n"));
        session.shows(message);
        let shown = session.ends(code);
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[test]
fn an_installation_is_confirmed_after_the_differences() {
    let scene = Scene::new();
    let url = format!("http://{}/", scene.gate.address);
    let place = Place::new();
    let token = scene.vendor.token().sign();
    place.write("license.jwt", &token);
    let environment = [
        ("LICENSE_GATE_URL", &*url),
        ("LICENSE_GATE_USER", "admin"),
        ("LICENSE_GATE_PASSWORD", "hunter2"),
    ];
    // Standard input is the token, and the question is asked on the terminal.
    let from_input = "\"$GATE\" license install - < license.jwt";
    for (command, answer, code) in [
        (from_input, "\n", 1),
        (from_input, "n\n", 1),
        (from_input, "\x03", 130),
        ("\"$GATE\" license install license.jwt", "Yes\n", 0),
    ] {
        scene.holds_nothing();
        let mut session = Session::run(&place, &environment, command);
        session.shows("signature        ok");
        session.shows("Differences to the license in force:");
        session.shows(jti(&token).as_str().expect("an id"));
        session.shows("Install this license? [y/N] ");
        session.types(answer);
        session.shows(match code {
            0 => "Installed.",
            1 => "Nothing was changed.",
            _ => "",
        });
        session.ends(code);
    }
    scene.holds(&token);

    for (answer, code, message) in [
        ("\n", 1, "Nothing was changed."),
        ("https://other/\n", 1, "licensing.instance.mismatch"),
        (&format!("{ROOT_URL}\n"), 0, "The license was removed."),
    ] {
        scene.holds(&token);
        let mut session = Session::run(&place, &environment, "\"$GATE\" license remove");
        session.shows("company          Example Ltd");
        session.shows("Enter the root URL of the instance");
        session.shows(": ");
        session.types(answer);
        session.shows(message);
        session.ends(code);
    }
    scene.holds_nothing();
}

#[test]
fn a_bad_answer_is_asked_again_with_the_reason() {
    let place = Place::new();
    let scene = Scene::new();
    scene.vendor.write_jwks(place.path());
    let mut session = Session::run(&place, &[], "\"$GATE\" init --out new.toml");
    for (question, bad, reason, good) in [
        ("Address of the dashboard", "grafana", "upstream.url", "http://127.0.0.1:1"),
        (
            "Public URL of the dashboard",
            "ftp://a/",
            "http:// or https://",
            "https://metrics.example/",
        ),
        ("Keys of the license issuer", "", "the answer is empty", "jwks.json"),
    ] {
        session.shows(question);
        session.shows(": ");
        session.types(&format!("{bad}\n"));
        session.shows(reason);
        session.shows(question);
        session.shows(": ");
        session.types(&format!("{good}\n"));
    }
    session.shows("new.toml is written");
    session.ends(0);
    place.run(&["check-config", "--config", "new.toml"]).exits(0).prints("new.toml: valid");

    let mut session = Session::run(&place, &[], "\"$GATE\" init --out other.toml");
    session.shows("Address of the dashboard");
    session.types("\x03");
    session.ends(130);
    assert!(!place.path().join("other.toml").exists());
}
