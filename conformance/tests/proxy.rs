//! The fault proxy in front of a small line server that remembers what has reached it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use exactly_once_conformance::faults::polls::drop_at_poll;
use exactly_once_conformance::faults::proxy::{Proxy, Rule, Trigger};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(60);

type Lines = Arc<Mutex<Vec<String>>>;

/// Answers each line with `ok <line>`, after having taken note of it.
async fn line_server() -> (SocketAddr, Lines) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let lines = Lines::default();
    let noted = Arc::clone(&lines);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let noted = Arc::clone(&noted);
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    noted.lock().unwrap().push(line.clone());
                    if write
                        .write_all(format!("ok {line}\n").as_bytes())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    (addr, lines)
}

struct Fixture {
    proxy: Proxy,
    lines: Lines,
}

impl Fixture {
    async fn new() -> Self {
        let (addr, lines) = line_server().await;
        Self {
            proxy: Proxy::start(addr).await.unwrap(),
            lines,
        }
    }

    async fn connect(&self) -> Client {
        Client(BufReader::new(
            TcpStream::connect(self.proxy.addr()).await.unwrap(),
        ))
    }

    fn arrived(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < SOON, "{what}: {:?}", self.proxy.stats());
            sleep(Duration::from_millis(2)).await;
        }
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes()).await
    }

    async fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match timeout(SOON, self.0.read_line(&mut line))
            .await
            .expect("an answer or an end")?
        {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    async fn ask(&mut self, line: &str) -> io::Result<String> {
        self.send(&format!("{line}\n")).await?;
        self.answer().await
    }
}

#[tokio::test]
async fn it_passes_and_counts_round_trips() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    for _ in 0..3 {
        assert_eq!(client.ask("hello").await.unwrap(), "ok hello");
    }
    // A request sent in pieces is one request.
    client.send("hel").await.unwrap();
    sleep(SHORT).await;
    assert_eq!(client.ask("lo").await.unwrap(), "ok hello");
    let stats = fixture.proxy.stats();
    assert_eq!((stats.connections, stats.open, stats.cuts), (1, 1, 0));
    assert_eq!((stats.requests, stats.round_trips), (4, 4));
    drop(client);
    fixture
        .until("the connection closes", |fixture| {
            fixture.proxy.stats().open == 0
        })
        .await;
}

#[tokio::test]
async fn a_cut_before_keeps_the_request_from_the_server() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.ask("one").await.unwrap();
    fixture.proxy.set(Rule::cut_before(Trigger::Request(2)));
    client.ask("two").await.unwrap();
    client.ask("three").await.unwrap_err();
    assert_eq!(fixture.proxy.stats().cuts, 1);
    sleep(SHORT).await;
    assert_eq!(fixture.arrived(), ["one", "two"]);
    // The rule is spent: a retry gets through.
    assert_eq!(
        fixture.connect().await.ask("three").await.unwrap(),
        "ok three"
    );
}

/// A pool that closes a spare connection says so to the server. Cutting that is no crash point of any
/// call: the rule is spent, which shows, and nothing counts as cut.
#[tokio::test]
async fn a_goodbye_meets_the_trigger_and_is_not_cut() {
    for rule in [Rule::cut_before, Rule::cut_after] {
        let fixture = Fixture::new().await;
        let mut spare = fixture.connect().await;
        spare.ask("one").await.unwrap();
        fixture.proxy.set(rule(Trigger::Request(1)));
        spare.send("bye\n").await.unwrap();
        drop(spare);
        fixture
            .until("the goodbye arrives", |fixture| {
                fixture.arrived() == ["one", "bye"]
            })
            .await;
        assert_eq!(fixture.proxy.stats().fired, 1);
        assert_eq!(fixture.proxy.stats().cuts, 0);
        let answer = fixture.connect().await.ask("two").await.unwrap();
        assert_eq!(answer, "ok two", "the rule is spent");
    }
}

#[tokio::test]
async fn a_cut_after_lets_the_server_act_and_hides_its_answer() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    fixture
        .proxy
        .set(Rule::cut_after(Trigger::contains("commit")));
    client.ask("begin").await.unwrap();
    client.ask("COMMIT").await.unwrap_err();
    assert_eq!(fixture.proxy.stats().cuts, 1);
    assert_eq!(fixture.arrived(), ["begin", "COMMIT"]);
    assert_eq!(
        fixture.proxy.stats().round_trips,
        1,
        "the hidden answer is none"
    );
}

#[tokio::test]
async fn a_cut_after_waits_for_all_of_a_long_request() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    fixture
        .proxy
        .set(Rule::cut_after(Trigger::contains("begin")));
    let long = format!("begin {}", "x".repeat(200_000));
    client.ask(&long).await.unwrap_err();
    assert_eq!(fixture.arrived(), [long]);
}

#[tokio::test]
async fn a_pattern_across_two_writes_is_found() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    fixture
        .proxy
        .set(Rule::cut_before(Trigger::contains("COMMIT")));
    client.send("COM").await.unwrap();
    sleep(SHORT).await;
    client.ask("MIT").await.unwrap_err();
    assert!(fixture.arrived().is_empty());
}

#[tokio::test]
async fn a_cut_at_a_byte_tears_the_message() {
    let (addr, received) = raw_server().await;
    let proxy = Proxy::start(addr).await.unwrap();
    proxy.set(Rule::cut_before(Trigger::Byte(4)));
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    client.write_all(b"abcdefgh").await.unwrap();
    let mut rest = Vec::new();
    let ended = timeout(SOON, client.read_to_end(&mut rest))
        .await
        .expect("an end");
    assert!(ended.is_err() || rest.is_empty());
    assert_eq!(timeout(SOON, received).await.unwrap().unwrap(), b"abcd");
}

/// Hands over all that one connection has sent.
async fn raw_server() -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        bytes
    });
    (addr, received)
}

#[tokio::test]
async fn a_cut_may_be_made_more_than_once() {
    let fixture = Fixture::new().await;
    fixture
        .proxy
        .set(Rule::cut_before(Trigger::Request(1)).times(2));
    for _ in 0..2 {
        fixture.connect().await.ask("again").await.unwrap_err();
    }
    fixture.connect().await.ask("again").await.unwrap();
    assert_eq!(fixture.proxy.stats().cuts, 2);
    assert_eq!(fixture.arrived(), ["again"]);
}

#[tokio::test]
async fn a_black_hole_is_silent_and_its_packets_arrive_late() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.ask("before").await.unwrap();
    fixture.proxy.set(Rule::Blackhole);
    client.send("zombie\n").await.unwrap();
    let mut late = fixture.connect().await;
    assert!(
        timeout(SHORT, client.answer()).await.is_err(),
        "neither answered nor told"
    );
    assert!(timeout(SHORT, late.ask("new")).await.is_err());
    assert_eq!(fixture.arrived(), ["before"]);
    // The client gives up; what it has sent is still under way.
    drop(client);
    fixture.proxy.set(Rule::Pass);
    fixture
        .until("the zombie lands", |fixture| fixture.arrived().len() == 3)
        .await;
    assert!(fixture.arrived().contains(&"zombie".to_owned()));
    assert_eq!(late.answer().await.unwrap(), "ok new");
}

#[tokio::test]
async fn held_replies_hide_an_effect_that_happened() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    fixture.proxy.set(Rule::HoldReplies);
    client.send("pay\n").await.unwrap();
    fixture
        .until("the request arrives", |fixture| {
            fixture.arrived() == ["pay"]
        })
        .await;
    assert!(timeout(SHORT, client.answer()).await.is_err());
    fixture.proxy.set(Rule::Pass);
    assert_eq!(client.answer().await.unwrap(), "ok pay");
}

#[tokio::test]
async fn a_delay_is_paid_each_way() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    fixture.proxy.set_delay(Duration::from_millis(40));
    let started = Instant::now();
    client.ask("slowly").await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(80),
        "{:?}",
        started.elapsed()
    );
    // Longer than any machine takes: the answer would not come.
    fixture.proxy.set_delay(Duration::from_secs(3600));
    fixture.proxy.set_delay(Duration::ZERO);
    let answer = timeout(Duration::from_secs(60), client.ask("fast")).await;
    answer.expect("the delay is over").unwrap();
}

#[tokio::test]
async fn a_delay_makes_crash_points_of_a_call() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    fixture.proxy.set_delay(Duration::from_millis(15));
    // Sent at the first poll, unanswered at the second: a drop there is a crash in between.
    assert!(drop_at_poll(1, client.ask("dropped")).await.is_none());
    fixture
        .until("the request arrives", |fixture| {
            fixture.arrived() == ["dropped"]
        })
        .await;
}

#[tokio::test]
async fn cut_all_cuts_idle_connections_too() {
    let fixture = Fixture::new().await;
    let mut idle = fixture.connect().await;
    let mut other = fixture.connect().await;
    idle.ask("a").await.unwrap();
    other.ask("b").await.unwrap();
    fixture.proxy.cut_all();
    idle.answer().await.unwrap_err();
    other.answer().await.unwrap_err();
    fixture
        .until("both are counted", |fixture| {
            fixture.proxy.stats().cuts == 2
        })
        .await;
    fixture.connect().await.ask("c").await.unwrap();
}

#[tokio::test]
async fn a_dropped_proxy_is_gone() {
    let fixture = Fixture::new().await;
    let mut client = fixture.connect().await;
    client.ask("a").await.unwrap();
    let addr = fixture.proxy.addr();
    drop(fixture);
    client.answer().await.unwrap_err();
    let refused = async {
        while TcpStream::connect(addr).await.is_ok() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, refused).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_away_closes_the_connection() {
    let (addr, _) = {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        (gone.local_addr().unwrap(), drop(gone))
    };
    let proxy = Proxy::start(addr).await.unwrap();
    let mut client = Client(BufReader::new(
        TcpStream::connect(proxy.addr()).await.unwrap(),
    ));
    let _ = client.send("hello\n").await;
    client.answer().await.unwrap_err();
}
