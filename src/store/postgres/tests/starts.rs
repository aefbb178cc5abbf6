//! The start of a gate with a database: tables, rights, encoding, certificate, and a database that is away.

use super::*;

#[test]
fn lost_tables_are_created_again_at_the_next_start_only() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    scene.sql("alter schema license_gate rename to being_restored");
    for _ in 0..2 {
        assert!(matches!(replica.refresh(), Err(Error::SchemaLost)));
        assert!(matches!(install(&mut replica, "b"), Err(Error::SchemaLost)));
    }
    let there = "select count(*) from pg_namespace where nspname = 'license_gate'";
    assert_eq!(scene.sql(there), "0");
    scene.sql("alter schema being_restored rename to license_gate");
    assert!(replica.refresh().expect("restored").is_none());
    scene.sql("delete from license_gate.state");
    assert!(matches!(replica.refresh(), Err(Error::SchemaLost)));
    scene.sql("drop schema license_gate cascade");

    // The replica that still runs stores its license in the tables that another one created.
    let mut newcomer = scene.replica("two");
    assert!(newcomer.refresh().expect("read").is_none());
    let kept = replica.refresh().expect("read").expect("news");
    assert_eq!(token(&kept), Some("a"));
    assert_eq!(scene.sql("select token, revision from license_gate.state"), "a|1");
    assert_eq!(lines_of_a_whole_chain(&scene), 1);
    assert!(scene.sql("select line from license_gate.audit").contains("the database was empty"));
    assert_eq!(token(&newcomer.refresh().expect("read").expect("news")), Some("a"));
}

#[test]
fn a_license_is_put_back_once_it_is_verified_again() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    let list = format!("h.{}.s", {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("{\"seq\":3}")
    });
    replica.adopted(Some("a"), Some(&list));
    drop(replica);
    scene.sql("drop schema license_gate cascade");
    let mut replica = scene.open(&scene.url(), "one").expect("opened");
    let (kept, faults) = replica.load();
    assert_eq!((token(&kept), kept.revocations.as_deref()), (Some("a"), None));
    assert_eq!(replica.own_copy().revocations.as_deref(), Some(&*list));
    assert!(faults.is_empty(), "{faults:?}");
    assert!(replica.refresh().expect("read").is_none());
    let state = "select coalesce(token, 'none'), revocations_seq from license_gate.state";
    assert_eq!(scene.sql(state), "none|", "what nobody has verified is given to nobody");
    replica.adopted(kept.token.as_deref().and_then(|t| std::str::from_utf8(t).ok()), Some(&list));
    assert_eq!(scene.sql(state), "a|3");
}

#[test]
fn tables_of_a_newer_gate_are_left_alone() {
    let scene = Scene::new();
    let (mut replica, mut recorder) = (scene.replica("one"), scene.replica("recorder"));
    scene.sql("insert into license_gate.schema_version values (2)");
    let newer = |error| matches!(error, Error::SchemaTooNew { found: 2, known: 1 });
    // Also on an open connection.
    assert!(newer(install(&mut replica, "a").expect_err("newer")));
    assert!(newer(note(&mut recorder).expect_err("newer")));
    scene.cluster.down(Stop::Fast);
    assert!(replica.refresh().is_err());
    scene.cluster.up();
    assert!(newer(replica.refresh().expect_err("newer")));
    assert!(newer(scene.open(&scene.url(), "two").expect_err("newer")));
}

#[test]
fn gates_that_start_together_make_the_tables_once() {
    let scene = Scene::new();
    thread::scope(|scope| {
        let scene = &scene;
        let starts: Vec<_> =
            (0..6).map(|n| scope.spawn(move || scene.replica(&format!("r{n}")))).collect();
        starts.into_iter().for_each(|start| drop(start.join().expect("started")));
    });
    assert_eq!(scene.sql("select count(*) from license_gate.schema_version"), "1");
}

#[test]
fn a_user_needs_no_rights_beyond_the_schema() {
    let scene = Scene::new();
    scene.sql(
        "create role poor login password 's3cret-of-the-test'; \
         create schema license_gate authorization poor; \
         revoke create on database licenses from public, poor",
    );
    let url = scene.url().replace("//gate:", "//poor:");
    let mut replica = scene.open(&url, "one").expect("opened");
    assert!(replica.load().1.is_empty());
    install(&mut replica, "a").expect("changed");

    // Without the schema the gate cannot create tables, and runs without them.
    drop(replica);
    scene.sql("drop schema license_gate cascade");
    let (mut replica, fault) = scene.open_with_fault(&url, "one").expect("opened");
    assert_eq!(token(&replica.load().0), Some("a"));
    let fault = chain(&fault.expect("a fault"));
    assert!(fault.contains("permission denied"), "{fault}");
}

#[test]
fn a_database_with_another_encoding_than_utf_8_is_refused() {
    let scene = Scene::new();
    scene.sql("create database latin encoding 'LATIN1' locale 'C' template template0");
    let (_, fault) = scene.open_with_fault(&scene.cluster.url("latin"), "one").expect("opened");
    let fault = chain(&fault.expect("a fault"));
    assert!(fault.contains("encoding is LATIN1"), "{fault}");
}

#[test]
fn a_replica_that_starts_without_the_database_uses_its_copy() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    replica.adopted(Some("a"), Some("list"));
    replica.keep_time(UnixTime::from_secs(5)).expect("kept");
    replica.keep_document(Document::Jwks, b"keys").expect("kept");
    let locked = scene.open(&scene.url(), "one").expect_err("two gates on one copy");
    assert!(matches!(locked, Error::File(crate::store::FileError::Locked { .. })), "{locked:?}");
    drop(replica);

    scene.cluster.down(Stop::Fast);
    let mut replica = scene.open(&scene.url(), "one").expect("opened");
    let (kept, faults) = replica.load();
    assert!(matches!(&faults[..], [Error::Unavailable(_)]), "{faults:?}");
    assert_eq!((token(&kept), kept.revocations.as_deref()), (Some("a"), Some("list")));
    assert_eq!(kept.newest_time, Some(UnixTime::from_secs(5)));
    assert_eq!(replica.document(Document::Jwks).expect("read").as_deref(), Some(&b"keys"[..]));
    assert!(matches!(install(&mut replica, "b"), Err(Error::Unavailable(_))));
    replica.keep_time(UnixTime::from_secs(8)).expect_err("kept in the copy only");

    scene.cluster.up();
    assert!(matches!(install(&mut replica, "b"), Err(Error::Unavailable(_))), "not read yet");
    let kept = replica.refresh().expect("back").expect("news");
    assert_eq!(token(&kept), Some("a"));
    install(&mut replica, "b").expect("changed");
    assert_eq!(std::fs::read(scene.copy("one").join("license.jwt")).unwrap(), b"b");
    assert_eq!(std::fs::read(scene.copy("one").join("clock")).unwrap(), b"8\n");
}

#[test]
fn a_server_whose_certificate_does_not_name_it_is_refused() {
    let scene = Scene::new();
    let url = scene.url();
    let other = tempfile::tempdir().unwrap();
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(other.path().join("ca.pem"), stranger.cert.pem()).unwrap();
    let here = scene.cluster.authority().display().to_string();
    let there = other.path().join("ca.pem").display().to_string();
    let cases = [
        (url.clone(), None),
        (url.clone() + "&sslmode=require", None),
        (url.clone() + "&channel_binding=require", None),
        (url.replace("localhost", "127.0.0.1"), Some("certificate")),
        (url.replace(&here, &there), Some("certificate")),
        (url.replace(&here, "/nowhere/ca.pem"), Some("cannot be read")),
        (url.replace("localhost", "127.0.0.1") + "&sslmode=disable", None),
        (scene.cluster.socket_url(scene.name), None),
        (url.replace("localhost", "localhost:1,localhost"), None),
        (url.replace(cluster::PASSWORD, "wrong-secret"), Some("password authentication failed")),
    ];
    for (url, expected) in cases {
        let (replica, fault) = scene.open_with_fault(&url, "one").expect("opened");
        let fault = fault.map(|fault| chain(&fault));
        match expected {
            None => assert_eq!(fault, None, "{url}"),
            Some(words) => {
                let fault = fault.expect(&url);
                assert!(fault.contains(words), "{url}: {fault}");
                let secret = fault.contains("wrong-secret") || fault.contains(cluster::PASSWORD);
                assert!(!secret, "{fault}");
            }
        }
        assert!(!format!("{replica:?}").contains(cluster::PASSWORD));
    }
    // The server reports whether the connection uses TLS.
    let mut replica = scene.open(&url, "one").expect("opened");
    replica.load();
    let tls = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) \
               where application_name = 'license-gate'";
    assert_eq!(scene.sql(tls), "t");
}

#[test]
fn a_database_that_accepts_no_changes_is_reported_as_read_only() {
    let scene = Scene::new();
    let mut replica = scene.replica("one");
    install(&mut replica, "a").expect("changed");
    drop(replica);
    scene.cluster.restart_as_standby();

    let mut replica = scene.open(&scene.url(), "one").expect("opened");
    let (kept, faults) = replica.load();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(token(&kept), Some("a"));
    let refused = install(&mut replica, "b").expect_err("read-only");
    assert!(matches!(refused, Error::ReadOnly(_)), "{refused:?}");
    assert!(refused.to_string().contains("read-only"), "{refused}");
    drop(replica);
    // With target_session_attrs=read-write.
    let primary = format!("{}&target_session_attrs=read-write", scene.url());
    let (_, trouble) = scene.open_with_fault(&primary, "one").expect("opened");
    assert!(matches!(trouble, Some(Error::ReadOnly(_))), "{trouble:?}");
}
