//! Licenses swapped while the gate is busy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::gate::PATIENCE;
use crate::support::http;
use crate::support::scene::{Scene, jti};
use crate::support::vendor::{DAY, Token, now};

/// Number of swaps while connections are open.
const SWAPS: usize = 1000;

/// Different bytes for each number.
fn block(number: usize) -> Vec<u8> {
    (0..997).map(|at| (number * 31 + at * 7) as u8).collect()
}

#[test]
fn a_websocket_and_a_slow_download_outlive_a_thousand_swaps() {
    let scene = Scene::new();
    let stream = TcpStream::connect(scene.gate.address).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let url = format!("ws://{}/ws", scene.gate.address);
    let (mut socket, _) = tungstenite::client(url, stream).expect("upgraded");
    let download = scene.ask("GET", "/download").start();
    scene.dashboard.wait_for("/download", 1);
    let reading = thread::spawn(move || download.answer());

    let tokens = [scene.vendor.token().sign(), scene.vendor.token().sign()];
    for number in 0..SWAPS {
        let token = &tokens[number % 2];
        assert_eq!(scene.install(token)["jti"], jti(token));
        scene.dashboard.feed(&block(number));
        socket.send(Message::text(format!("swap {number}"))).expect("open");
        let echo = socket.read().expect("open");
        assert_eq!(echo, Message::text(format!("swap {number}")));
    }
    scene.dashboard.feed(b"");
    let downloaded = reading.join().expect("no panic").is(200).body;
    assert!(downloaded == (0..SWAPS).flat_map(block).collect::<Vec<u8>>(), "other bytes");
    assert_eq!(scene.dashboard.asked("/download").len(), 1);
}

/// Two licenses that differ in every claim.
fn unlike(token: Token<'_>, number: u64) -> Token<'_> {
    let name = |claim: &str| format!("{claim}-{}", number.to_string().repeat(50));
    token
        .with("jti", name("jti"))
        .with("iss", name("iss"))
        .with("sub", ["http://metrics.example/", "http://*.example/"][number as usize])
        .with("iat", now() - 100 - number)
        .with("exp", now() + DAY + number)
        .with("nbf", 10 + number)
        .with("lexp", now() + 2 * DAY + number)
        .with("lid", name("lid"))
        .with("limit_by", name("limit_by"))
        .with("included_users", 20 + number)
        .with("lic_exp_warn_days", 30 + number)
        .with("tok_exp_warn_days", 40 + number)
        .with("update_days", 50 + number)
        .with("prod", json!([name("prod")]))
        .with("company", name("company"))
        .with("account", name("account"))
        .with("slug", name("slug"))
        .with("usage_billing", number == 1)
        .with("max_concurrent_user_sessions", 60 + number)
        .with("details_url", name("details_url"))
        .with("trial", number == 0)
        .with("trial_exp", now() + 3 * DAY + number)
        .with("anonymousRatio", 70 + number)
}

#[test]
fn readers_see_one_whole_license_during_swaps() {
    let scene = Scene::new();
    let tokens = [0, 1].map(|number| unlike(scene.vendor.token(), number).sign());
    let bodies = tokens.each_ref().map(|token| scene.post(token).is(200).text().to_owned());
    assert_ne!(bodies[0], bodies[1]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let read = || {
            let mut seen = [0; 2];
            while !done.load(Ordering::Relaxed) {
                let request = http::request(scene.gate.address, "GET", "/api/licensing/token");
                let answer = request.basic("admin", "hunter2").send().is(200);
                let which = bodies.iter().position(|body| body == answer.text());
                seen[which.unwrap_or_else(|| panic!("neither: {}", answer.text()))] += 1;
            }
            seen
        };
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        for number in 0..200 {
            let answer = scene.post(&tokens[number % 2]).is(200);
            assert_eq!(answer.text(), bodies[number % 2], "the response shows the written license");
            assert_eq!(scene.check(), "true", "there is always a license");
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let seen = reader.join().expect("no panic");
            assert!(seen[0] > 0 && seen[1] > 0, "both were in force: {seen:?}");
        }
    });
}

#[test]
fn concurrent_writes_each_return_their_own_license_and_one_remains() {
    let scene = Scene::new();
    let tokens: Vec<String> = (0..12).map(|_| scene.vendor.token().sign()).collect();
    thread::scope(|scope| {
        for token in &tokens {
            scope.spawn(|| assert_eq!(scene.install(token)["jti"], jti(token)));
        }
    });
    let left = scene.on_disk().expect("a license");
    assert!(tokens.contains(&left));
    scene.holds(&left);
}

#[test]
fn an_open_connection_sees_the_license_change() {
    let scene = Scene::new();
    let mut stream = TcpStream::connect(scene.gate.address).expect("accepted");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    let mut check = |expected: &str| {
        let request = "GET /api/licensing/check HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46aHVudGVyMg==\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        while !answer.ends_with(format!("\r\n\r\n{expected}").as_bytes()) {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the answer expected");
            answer.extend(byte);
        }
    };
    check("false");
    scene.install(&scene.vendor.token().sign());
    check("true");
    scene.remove().is(202);
    check("false");
}
