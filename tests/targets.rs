//! Setting the target: one that does not answer is not set if it is to be tried. One that leads back to the proxy
//! is refused where that can be seen, and where it cannot one client does not take every connection there may be.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, Socket, Type};
use support::*;

/// A proxy without a target, for so many connections, and where it is called.
struct Setup {
    directory: tempfile::TempDir,
    proxy: Running,
}

impl Setup {
    fn new(unit: Unit, connections_max: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let control = UnixListener::bind(directory.path().join("control")).unwrap();
        let proxy = unit
            .socket("varlink", control)
            .env("STATE_DIRECTORY", directory.path().to_str().unwrap())
            .arg(format!("--connections-max={connections_max}"))
            .ready();
        Self { directory, proxy }
    }

    fn control(&self) -> PathBuf {
        self.directory.path().join("control")
    }

    /// What each connection has received from its client.
    fn received(&self) -> Vec<u64> {
        let (_, text) = run_ctl(&self.control(), &["--json", "connections"]);
        let connections: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let received = connections
            .iter()
            .map(|connection| &connection["receivedBytes"]);
        received.map(|bytes| bytes.as_u64().unwrap()).collect()
    }

    fn status(&self) -> serde_json::Value {
        let (_, text) = run_ctl(&self.control(), &["--json", "status"]);
        serde_json::from_str(&text).unwrap()
    }

    fn open(&self) -> u64 {
        self.status()["open"].as_u64().unwrap()
    }

    fn set_target(&self, target: &str) -> (i32, String) {
        run_ctl(&self.control(), &["set-target", target])
    }

    fn leads_to(&self, target: &str) {
        let (status, text) = self.set_target(target);
        assert_eq!(status, 0, "{text}");
    }
}

/// An upstream that sends a word to each client.
fn serving() -> SocketAddr {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in upstream.incoming() {
            // Clients by way of the former loop may have gone.
            let _ = stream.unwrap().write_all(b"served");
        }
    });
    address
}

/// An address where no process listens: the socket that has it does not.
fn refusing() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address.to_string())
}

#[test]
fn a_target_that_is_tried_and_does_not_answer_changes_nothing() {
    let mut address = None;
    let setup = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    let target = serving().to_string();
    setup.leads_to(&target);
    let (_socket, nobody) = refusing();
    for verb in ["set-target", "switch"] {
        let (status, text) = run_ctl(&setup.control(), &[verb, &nobody, "--wait=50ms"]);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("nothing has changed"), "{text}");
        assert!(
            text.contains("refused") && !text.contains("os error"),
            "{text}"
        );
        let status = setup.status();
        assert_eq!(
            (&status["target"], &status["gate"]),
            (&target.as_str().into(), &"open".into())
        );
    }
    assert_eq!(rest(&connect(address.unwrap())).unwrap(), b"served");
    // Without being tried it is set, whether it answers or not.
    for words in [&["set-target"][..], &["switch", "--untested"]] {
        let (status, text) = run_ctl(&setup.control(), &[words, &[&nobody]].concat());
        assert_eq!(status, 0, "{text}");
        assert_eq!(setup.status()["target"], nobody);
        let (status, text) = run_ctl(&setup.control(), &["switch", &target]);
        assert_eq!(status, 0, "{text}");
        assert_eq!(setup.status()["target"], target);
    }
}

#[test]
fn a_first_target_is_set_although_it_does_not_answer_and_the_caller_hears_of_it() {
    let mut address = None;
    let setup = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    let (_socket, nobody) = refusing();
    let (status, text) = run_ctl(&setup.control(), &["switch", &nobody, "--wait=50ms"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("nothing has changed"), "{text}");
    let (status, text) = run_ctl(&setup.control(), &["set-target", &nobody, "--wait=50ms"]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("it is set all the same"), "{text}");
    assert_eq!(setup.status()["target"], nobody);
}

#[test]
fn a_target_that_goes_while_a_switch_drains_is_not_switched_to() {
    let mut address = None;
    let setup = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    let [old, new] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let target = old.local_addr().unwrap().to_string();
    setup.leads_to(&target);
    let client = connect(address.unwrap());
    let (served, _) = old.accept().unwrap();
    let next = new.local_addr().unwrap().to_string();
    let mut switch = ctl(&setup.control(), &["switch", &next, "--wait=50ms"])
        .spawn()
        .unwrap();
    eventually("it drains", || setup.status()["gate"] == "draining");
    drop(new);
    drop((client, served));
    assert_eq!(switch.wait().unwrap().code(), Some(1));
    eventually("the gate is open", || setup.status()["gate"] == "open");
    assert_eq!(setup.status()["target"], target);
}

#[test]
fn a_switch_changes_nothing_if_its_check_fails_and_lets_nobody_through_before() {
    let mut address = None;
    let setup = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    let [old, new] = [(); 2].map(|()| serving().to_string());
    setup.leads_to(&old);
    let switch = |check: &str| run_ctl(&setup.control(), &["switch", &new, "--check", check]);
    let state = || {
        let status = setup.status();
        [&status["target"], &status["gate"]].map(|value| value.as_str().unwrap().to_owned())
    };
    let (status, text) = switch("exit 7");
    assert_eq!(status, 5, "{text}");
    assert!(text.contains("exit status: 7"), "{text}");
    assert_eq!(state(), [old.as_str(), "open"]);
    assert_eq!(rest(&connect(address.unwrap())).unwrap(), b"served");
    let seen = setup.directory.path().join("seen").display().to_string();
    let says = |words: &str| format!("grep -q '{words}' {seen}");
    let check = [
        format!("{CTL} --json status >{seen}"),
        says("\"gate\":\"locked\""),
        says(&format!("\"target\":\"{old}\"")),
        format!("test \"$DISNIX_TCP_PROXY_TARGET\" = {new}"),
    ];
    let (status, text) = switch(&check.join(" && "));
    assert_eq!(status, 0, "{text}");
    assert_eq!(state(), [new.as_str(), "open"]);
}

#[test]
fn a_target_that_is_only_tried_is_not_set() {
    let mut address = None;
    let setup = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    let (_socket, nobody) = refusing();
    let words = ["switch", &nobody, "--wait=50ms", "--check", "true"];
    let (status, text) = run_ctl(&setup.control(), &words);
    assert_eq!(status, 1, "{text}");
    assert!(setup.status()["target"].is_null(), "{text}");
}

#[test]
fn a_target_that_is_the_proxy_itself_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("front");
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let mut address = None;
    let unit = Unit::new(PROXY)
        .listener(&mut address)
        .socket("clients", everywhere)
        .socket("clients", UnixListener::bind(&path).unwrap());
    let setup = Setup::new(unit, 50);
    for target in [
        address.unwrap().to_string(),
        format!("localhost:{}", address.unwrap().port()),
        format!("127.0.0.1:{port}"),
        format!("127.9.9.9:{port}"),
        format!("localhost:{port}"),
        format!("0.0.0.0:{port}"),
        path.display().to_string(),
    ] {
        for verb in ["set-target", "switch"] {
            let (status, text) = run_ctl(&setup.control(), &[verb, &target]);
            assert_eq!(status, 2, "{text}");
            assert!(text.contains("leads back to this proxy"), "{text}");
        }
    }
    // Nothing has changed: a client that came meanwhile waits for a target.
    let client = connect(address.unwrap());
    setup.leads_to(&serving().to_string());
    assert_eq!(rest(&client).unwrap(), b"served");
}

#[test]
fn a_proxy_whose_target_is_itself_does_not_start() {
    let mut address = None;
    let unit = Unit::new(PROXY).listener(&mut address);
    let unit = unit.arg(address.unwrap().to_string());
    let (status, log) = unit.fails();
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("leads back to this proxy"), "{log}");
}

#[test]
fn a_saved_target_that_leads_back_is_left_out_and_another_one_can_be_set() {
    let mut address = None;
    let unit = Unit::new(PROXY).listener(&mut address);
    let address = address.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("target"), format!("{address}\n")).unwrap();
    let control = directory.path().join("control");
    let mut proxy = unit
        .socket("varlink", UnixListener::bind(&control).unwrap())
        .env("STATE_DIRECTORY", directory.path().to_str().unwrap())
        .ready();
    proxy.until_logged("leads back to this proxy");
    let client = connect(address);
    let (status, text) = run_ctl(&control, &["set-target", &serving().to_string()]);
    assert_eq!(status, 0, "{text}");
    assert_eq!(rest(&client).unwrap(), b"served");
}

/// Its listener is of one interface, so its address does not show the loop: it leads back all the same.
#[test]
fn a_client_that_is_the_proxy_itself_is_known_when_it_is_accepted() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Err(error) = socket.bind_device(Some(b"lo")) {
        return eprintln!("not tested, a socket cannot be bound to an interface: {error}");
    }
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(128).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut setup = Setup::new(Unit::new(PROXY).socket("clients", socket), 50);
    setup.leads_to(&address.to_string());
    for _ in 0..3 {
        // It may be reset while it still connects.
        let client = TcpStream::connect(address);
        let end = client.and_then(|client| {
            client.set_read_timeout(Some(PATIENCE))?;
            rest(&client)
        });
        let error = end.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let line = setup.proxy.until_logged("leads back to this proxy");
    assert!(line.contains(&address.to_string()), "{line}");
    eventually("the places come back", || setup.open() == 0);
    setup.leads_to(&serving().to_string());
    assert_eq!(rest(&connect(address)).unwrap(), b"served");
}

/// A link that is made later is not seen when the target is set.
#[test]
fn a_client_that_is_the_proxy_itself_is_known_by_its_process_too() {
    let directory = tempfile::tempdir().unwrap();
    let [front, link] = ["front", "link"].map(|name| directory.path().join(name));
    let listener = UnixListener::bind(&front).unwrap();
    let setup = Setup::new(Unit::new(PROXY).socket("clients", listener), 50);
    let mut address = None;
    let other = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    setup.leads_to(&link.display().to_string());
    std::os::unix::fs::symlink(&front, &link).unwrap();
    let (status, text) = setup.set_target(&link.display().to_string());
    assert_eq!(status, 2, "{text}");
    assert!(is_ended(&front));
    eventually("the places come back", || setup.open() == 0);
    // Another process of this machine is none of its own.
    other.leads_to(&front.display().to_string());
    setup.leads_to(&serving().to_string());
    assert_eq!(rest(&connect(address.unwrap())).unwrap(), b"served");
}

/// Whether a client of an AF_UNIX socket sees an end without a word.
fn is_ended(path: &Path) -> bool {
    use std::io::Read;
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    match client.read(&mut [0; 8]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn places_that_a_chain_of_proxies_has_taken_come_back_with_the_right_target() {
    places_come_back(|_| {});
}

/// Its words go round, too.
#[test]
fn places_come_back_when_the_client_of_the_chain_has_spoken() {
    places_come_back(|mut client| client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap());
}

fn places_come_back(speak: impl Fn(&TcpStream)) {
    const PLACES: usize = 20;
    let (mut first, mut second) = (None, None);
    let unit = Unit::new(PROXY).listener(&mut second);
    let setup = Setup::new(Unit::new(PROXY).listener(&mut first), PLACES);
    let (first, second) = (first.unwrap(), second.unwrap());
    let _second = unit.arg(first.to_string()).ready();
    setup.leads_to(&second.to_string());
    let client = connect(first);
    speak(&client);
    eventually("all places are taken", || setup.open() == PLACES as u64);
    eventually("the words have gone round", || {
        setup
            .received()
            .iter()
            .all(|bytes| *bytes == setup.received()[0])
    });
    // An orderly end is passed on to where no process accepts it.
    drop(client);
    let waiting = connect(first);
    setup.leads_to(&serving().to_string());
    assert_eq!(rest(&waiting).unwrap(), b"served");
    drop(waiting);
    eventually("the places come back", || setup.open() == 0);
}

/// A client would have the rights of an operator.
#[test]
fn a_target_that_is_the_control_socket_is_refused_and_where_it_is_not_seen_no_client_is_heard() {
    let mut address = None;
    let mut setup = Setup::new(Unit::new(PROXY).listener(&mut address), 50);
    let control = setup.control();
    let (status, text) = run_ctl(&control, &["set-target", &control.display().to_string()]);
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("leads back to this proxy"), "{text}");
    let (status, text) =
        setup.set_target(&control.with_file_name("./control").display().to_string());
    assert_eq!(status, 2, "{text}");
    let link = setup.directory.path().join("link");
    setup.leads_to(&link.display().to_string());
    // From now on it is not where it led when it was set.
    std::os::unix::fs::symlink(&control, &link).unwrap();
    let mut client = connect(address.unwrap());
    let call = r#"{"method":"io.github.disnix-proxy-example.Proxy.GetStatus"}"#;
    client.write_all(format!("{call}\0").as_bytes()).unwrap();
    // An end, or a reset as its words were not read.
    assert_eq!(rest(&client).unwrap_or_default(), b"");
    setup.proxy.until_logged("leads to the control socket");
    setup.leads_to(&serving().to_string());
    assert_eq!(rest(&connect(address.unwrap())).unwrap(), b"served");
}
