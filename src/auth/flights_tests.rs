use super::*;
use std::net::Ipv4Addr;

use tokio::task::yield_now;

use crate::auth::grants::Known;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn digest(number: u16) -> Digest {
    let mut digest = [0; 32];
    digest[..2].copy_from_slice(&number.to_be_bytes());
    digest
}

fn flights(failures_per_minute: u32) -> Arc<Flights> {
    Arc::new(Flights::new(failures_per_minute))
}

fn refused() -> Verdict {
    Err(Denied::Refused { code: "x".into(), message: "x".into() })
}

#[track_caller]
fn begin(flights: &Arc<Flights>, number: u16, address: IpAddr) -> (PendingVerdict, Flight) {
    let (answer, flight) = flights.join(digest(number), address, true).expect("room");
    (answer, flight.expect("a new question"))
}

#[track_caller]
fn is_empty(flights: &Flights) {
    let open = flights.open();
    assert_eq!((open.flights.len(), open.clients.len(), open.in_all), (0, 0, 0));
    assert_eq!(open.sites.len(), 0);
}

/// The turn at this moment, without waiting.
async fn turn(flight: &mut Flight) -> Turn {
    flight.turn_within(Duration::ZERO).await
}

#[tokio::test]
async fn identical_checks_in_flight_are_shared_and_the_verdict_is_not_kept() {
    let flights = flights(0);
    let (one, flight) = begin(&flights, 1, HERE);
    let (two, new) = flights.join(digest(1), HERE, true).expect("joined");
    assert!(new.is_none());
    flight.finish(Ok(Known::default()));
    assert!(one.verdict().await.is_ok());
    assert!(two.verdict().await.is_ok());
    is_empty(&flights);
    let (_, flight) = begin(&flights, 1, HERE);
    drop(flight);
    is_empty(&flights);
}

#[tokio::test]
async fn a_dropped_check_fails_for_all_its_callers() {
    let flights = flights(1);
    let (one, flight) = begin(&flights, 1, HERE);
    let (two, _) = flights.join(digest(1), HERE, true).expect("joined");
    drop(flight);
    for answer in [one, two] {
        assert!(matches!(answer.verdict().await, Err(Denied::Unavailable(_))));
    }
    is_empty(&flights);
    assert_eq!(flights.failures_left(HERE).expect("left"), 1);
}

#[tokio::test]
async fn a_client_has_at_most_64_checks_in_flight() {
    let flights = flights(0);
    let mut taken: Vec<_> = (0..64).map(|_| flights.slot(HERE).expect("a place")).collect();
    assert!(matches!(flights.slot(HERE), Err(Denied::Busy)));
    assert!(matches!(flights.join(digest(1), HERE, true), Err(Denied::Busy)));
    taken.pop();
    let (_answer, flight) = begin(&flights, 1, HERE);
    assert!(flights.slot(HERE).is_err());
    assert!(flights.join(digest(1), HERE, true).is_ok(), "joining takes no slot");
    drop(flight);
    drop(taken);
    is_empty(&flights);
}

fn v6(site: u16, network: u16) -> IpAddr {
    IpAddr::V6([0x2001, 0xdb8, site, network, 0, 0, 0, 1].into())
}

#[tokio::test]
async fn an_ipv6_48_has_as_many_slots_as_two_clients() {
    let flights = flights(0);
    let taken: Vec<_> = (0..128).map(|n| flights.slot(v6(1, n)).expect("a place")).collect();
    assert!(matches!(flights.slot(v6(1, 999)), Err(Denied::Busy)));
    assert!(flights.slot(v6(2, 999)).is_ok(), "another site");
    assert!(flights.slot(HERE).is_ok(), "IPv4");
    drop(taken);
    is_empty(&flights);
}

#[tokio::test]
async fn the_last_slots_are_reserved_for_clients_with_none() {
    let flights = flights(0);
    let mut taken = Vec::new();
    for client in 0..7 {
        taken.extend((0..64).map(|_| flights.slot(v6(client, 0)).expect("a place")));
    }
    // 448 are taken: a client with one gets no more, nor do other networks of its site.
    assert!(matches!(flights.slot(v6(0, 1)), Err(Denied::Busy)));
    taken.push(flights.slot(HERE).expect("the first one"));
    assert!(matches!(flights.slot(HERE), Err(Denied::Busy)), "the second one");
    taken.extend((7..70).map(|site| flights.slot(v6(site, 0)).expect("the first one")));
    assert_eq!(flights.open().in_all, 512);
    assert!(matches!(flights.slot(ELSEWHERE), Err(Denied::Busy)), "512 in all");
    drop(taken);
    is_empty(&flights);
}

#[tokio::test]
async fn at_most_as_many_passwords_are_checked_as_may_be_refused() {
    let flights = flights(2);
    let (_one, mut first) = begin(&flights, 1, HERE);
    let (_two, mut second) = begin(&flights, 2, HERE);
    let (_three, mut third) = begin(&flights, 3, HERE);
    let (_four, mut elsewhere) = begin(&flights, 4, ELSEWHERE);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    assert!(matches!(turn(&mut second).await, Turn::Now));
    assert!(matches!(turn(&mut third).await, Turn::Denied(Denied::Busy)));
    assert!(matches!(turn(&mut elsewhere).await, Turn::Now));
    first.finish(Ok(Known::default()));
    assert!(matches!(turn(&mut third).await, Turn::Now), "a grant frees its turn");
    second.finish(refused());
    third.finish(refused());
    let denied = flights.join(digest(5), HERE, true);
    assert!(matches!(denied, Err(Denied::TooManyFailures { .. })));
    assert!(flights.join(digest(5), HERE, false).is_ok(), "a session");
    drop(elsewhere);
    is_empty(&flights);
}

#[tokio::test]
async fn a_waiting_password_gets_a_turn_or_too_many_failures() {
    for (verdict, is_now) in [(Ok(Known::default()), true), (refused(), false)] {
        let flights = flights(1);
        let (_one, mut first) = begin(&flights, 1, HERE);
        let (_two, mut second) = begin(&flights, 2, HERE);
        assert!(matches!(turn(&mut first).await, Turn::Now));
        let finish = async {
            yield_now().await;
            first.finish(verdict);
        };
        let (turn, ()) = tokio::join!(second.turn(), finish);
        match turn {
            Turn::Now => assert!(is_now),
            Turn::Denied(Denied::TooManyFailures { .. }) => assert!(!is_now),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_turn_ends_after_10_seconds() {
    let flights = flights(1);
    let (_one, mut first) = begin(&flights, 1, HERE);
    let (_two, mut second) = begin(&flights, 2, HERE);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    let began = time::Instant::now();
    assert!(matches!(second.turn().await, Turn::Denied(Denied::Busy)));
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_password_without_callers_is_dropped_before_its_check_only() {
    let flights = flights(1);
    let (one, mut first) = begin(&flights, 1, HERE);
    drop(one);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    let (two, mut second) = begin(&flights, 2, HERE);
    let leave = async {
        yield_now().await;
        drop(two);
    };
    let (turn, ()) = tokio::join!(second.turn(), leave);
    assert!(matches!(turn, Turn::Abandoned));
    // The same check starts again although the previous one still exists.
    let (_again, third) = begin(&flights, 2, HERE);
    drop(second);
    assert!(flights.join(digest(2), HERE, true).expect("joined").1.is_none());
    drop((first, third));
    is_empty(&flights);
}

#[tokio::test(start_paused = true)]
async fn turns_are_given_in_the_order_of_arrival() {
    let flights = flights(1);
    let (_answer, mut first) = begin(&flights, 1, HERE);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    let (mut answers, order) = (Vec::new(), Arc::new(Mutex::new(Vec::new())));
    let mut tasks = Vec::new();
    for number in 2..10 {
        let (answer, mut flight) = begin(&flights, number, HERE);
        answers.push(answer);
        let order = order.clone();
        tasks.push(tokio::spawn(async move {
            assert!(matches!(flight.turn().await, Turn::Now), "{number}");
            order.lock().expect("a lock").push(number);
            // All others in the queue are woken meanwhile.
            yield_now().await;
            flight.finish(Ok(Known::default()));
        }));
        yield_now().await;
    }
    // A password that arrives when a turn becomes free does not overtake the queue.
    first.finish(Ok(Known::default()));
    let (_late, mut late) = begin(&flights, 10, HERE);
    assert!(matches!(turn(&mut late).await, Turn::Denied(Denied::Busy)));
    for task in tasks {
        task.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("a lock"), (2..10).collect::<Vec<_>>());
    assert!(matches!(turn(&mut late).await, Turn::Now));
    drop(late);
    is_empty(&flights);
}

#[tokio::test(start_paused = true)]
async fn the_queue_moves_up_when_one_leaves_it() {
    let flights = flights(1);
    let (_one, mut first) = begin(&flights, 1, HERE);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    let (two, mut second) = begin(&flights, 2, HERE);
    let (_three, mut third) = begin(&flights, 3, HERE);
    let second = tokio::spawn(async move { matches!(second.turn().await, Turn::Abandoned) });
    yield_now().await;
    let third = tokio::spawn(async move { matches!(third.turn().await, Turn::Now) });
    yield_now().await;
    drop(two);
    assert!(second.await.expect("no panic"));
    first.finish(Ok(Known::default()));
    assert!(third.await.expect("no panic"));
    is_empty(&flights);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_window_frees_turns_and_a_turn_at_the_deadline_counts() {
    let flights = flights(2);
    let (_one, mut first) = begin(&flights, 1, HERE);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    first.finish(refused());
    time::advance(Duration::from_secs(55)).await;
    let (_two, mut second) = begin(&flights, 2, HERE);
    assert!(matches!(turn(&mut second).await, Turn::Now));
    let began = time::Instant::now();
    let (_three, mut third) = begin(&flights, 3, HERE);
    assert!(matches!(third.turn().await, Turn::Now), "one may be refused again");
    assert_eq!(began.elapsed().as_secs(), 5);

    let flights = self::flights(1);
    let (_one, mut first) = begin(&flights, 1, HERE);
    let (_two, mut second) = begin(&flights, 2, HERE);
    assert!(matches!(turn(&mut first).await, Turn::Now));
    let finish = async {
        time::sleep(DEADLINE).await;
        first.finish(Ok(Known::default()));
    };
    let (_, turn) = tokio::join!(biased; finish, second.turn());
    assert!(matches!(turn, Turn::Now), "{turn:?}");
}
