//! Plays every case of `tests/namespaces/*.toml`, each in network namespaces of its own that end with
//! it: `near`, where `mxprobe` runs, and `far`, where the provider is, joined by a cable. There
//! addresses are what they are in the world: of both families, public and private, many, and gone
//! from one moment to the next. Knot, Postfix and smtp-sink are the real ones, nftables the filter.
//!
//! Needs root, and what `tests/run` installs. A case is a process of this test in namespaces of
//! processes, mounts and network; when it ends, however it ends, nothing of it is left.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

/// How many cases are played at once.
const AT_ONCE: usize = 3;
/// How long a part may take to come up.
const SOON: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Case {
    /// What it shows.
    name: String,
    /// Shell lines for this end, in the case's directory, before anything is started.
    #[serde(default)]
    near: Vec<String>,
    /// The same for the other end.
    #[serde(default)]
    far: Vec<String>,
    /// A Knot at each of these addresses, with zones by name: their text, behind a SOA. A zone that
    /// is empty and was not written by `near` cannot be loaded, and is served as such.
    #[serde(default)]
    dns: BTreeMap<String, BTreeMap<String, String>>,
    /// An Unbound at this address that asks the other one.
    #[serde(default)]
    unbound: BTreeMap<String, String>,
    /// What listens on port 25 of every address over there.
    smtp: Option<Smtp>,
    /// What stands behind `mxprobe`. What it does not say is said for it: `--dns 192.0.2.53`,
    /// `--format jsonl`, `--history none` and, unless the reverse names are wanted, `--ehlo`.
    argv: Vec<String>,
    #[serde(default)]
    reverse_names: bool,
    #[serde(default)]
    env: BTreeMap<String, String>,
    exit: i32,
    /// Every session, in order: `SOURCE to ADDRESS: kind stage`, then code, enhanced code and notes.
    #[serde(default)]
    ends: Vec<String>,
    /// In place of that where they are many: how many ended how.
    #[serde(default)]
    counts: BTreeMap<String, usize>,
    /// The diagnoses in order: `kind confidence`, then addresses, or candidates.
    diagnoses: Option<Vec<String>>,
    /// DNS questions, `MX a.example 192.0.2.53`, and the error each met with.
    #[serde(default)]
    lookups: BTreeMap<String, String>,
    /// What stands somewhere in what the program prints.
    #[serde(default)]
    says: Vec<String>,
    /// What stands nowhere in it.
    #[serde(default)]
    never: Vec<String>,
    /// Shell lines that must succeed when all is over; what was printed is in the file `printed`.
    #[serde(default)]
    then: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Smtp {
    /// smtp-sink, which takes everything.
    Sink,
    /// Postfix, with these lines in its main.cf.
    Postfix(String),
    /// A server that answers nothing any more once it hears this, or in the midst of a `handshake`;
    /// then these shell lines are run at our end.
    Hangs { at: String, near: Vec<String> },
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/namespaces");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap();
    toml::from_str::<File>(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).case
}

#[test]
#[ignore = "needs root, and the parts that tests/run installs"]
fn every_case_is_as_said() {
    let all: Vec<(PathBuf, usize, String)> = files()
        .into_iter()
        .flat_map(|path| {
            let names = cases(&path).into_iter().map(|case| case.name).enumerate().collect::<Vec<_>>();
            names.into_iter().map(move |(index, name)| (path.clone(), index, name))
        })
        .filter(|(.., name)| std::env::var("CASE").map_or(true, |wanted| name.contains(&wanted)))
        .collect();
    assert!(std::env::var_os("CASE").is_some() || all.len() >= 30, "only {} cases were found", all.len());
    let (next, wrong) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((path, index, name)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let output = apart(path, *index);
                    let took = begun.elapsed().as_secs_f64();
                    let so = output.status.success();
                    println!("{} {name} ({took:.1} s)", if so { "as said " } else { "NOT SO  " });
                    if !so {
                        let said = [output.stdout, output.stderr].concat();
                        wrong.lock().unwrap().push(format!("{name}:\n{}", String::from_utf8_lossy(&said)));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// This very test, as a process in namespaces that are taken down with it.
fn apart(path: &Path, index: usize) -> Output {
    Command::new("unshare")
        .args(["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "one_case", "--ignored", "--nocapture"])
        .env("MXPROBE_TEST_CASE", path)
        .env("MXPROBE_TEST_INDEX", index.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
#[ignore = "a process of its own, started by every_case_is_as_said"]
fn one_case() {
    let Some(path) = std::env::var_os("MXPROBE_TEST_CASE") else { return };
    let index: usize = std::env::var("MXPROBE_TEST_INDEX").unwrap().parse().unwrap();
    let case = cases(Path::new(&path)).swap_remove(index);
    let world = World::start(&case);
    let output = world.run(&case);
    let faults = world.faults(&case, &output);
    let said = [output.stdout, output.stderr].concat();
    // Enough to see what happened; of hundreds of sessions the first ones.
    let said: String = String::from_utf8_lossy(&said).chars().take(8000).collect();
    assert!(faults.is_empty(), "\n{}\n{said}", faults.join("\n"));
}

/// Both ends, and what runs there.
struct World {
    dir: tempfile::TempDir,
    /// A process that only holds the other end's namespace.
    far: Child,
    parts: Vec<Child>,
}

impl World {
    fn start(case: &Case) -> Self {
        let far = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().unwrap();
        let mut world = Self { dir: tempfile::tempdir().unwrap(), far, parts: Vec::new() };
        // Postfix, smtp-sink and Knot read it under names of their own.
        world.shell(false, "chmod 755 .");
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", world.far.id());
        until("the other end's namespace", || std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != ours));
        world.shell(false, &format!("ip link add near0 type veth peer name far0 netns {}", world.far.id()));
        for line in NEAR {
            world.shell(false, line);
        }
        for line in FAR {
            world.shell(true, line);
        }
        // The cable carries something once both of its ends are up.
        world.shell(false, "ip route add default via 192.0.2.1");
        world.shell(false, "ip -6 route add default via 2001:db8:1::1");
        case.near.iter().for_each(|line| world.shell(false, line));
        case.far.iter().for_each(|line| world.shell(true, line));
        case.dns.iter().for_each(|(address, zones)| world.knot(address, zones));
        case.unbound.iter().for_each(|(address, behind)| world.unbound(address, behind));
        match &case.smtp {
            None | Some(Smtp::Hangs { .. }) => {}
            Some(Smtp::Sink) => world.sink(),
            Some(Smtp::Postfix(lines)) => world.postfix(lines),
        }
        world
    }

    /// A command at the other end, or at ours.
    fn at(&self, far: bool, program: &str) -> Command {
        let mut command = Command::new(if far { "nsenter" } else { program });
        if far {
            command.arg(format!("--net=/proc/{}/ns/net", self.far.id())).arg(program);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn shell(&self, far: bool, line: &str) {
        let output = self.at(far, "sh").args(["-ec", line]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {}: {said}", output.status);
    }

    /// Starts a part at the other end; it comes up as soon as something listens there.
    fn part(&mut self, mut command: Command, listens: &str) {
        let log = std::fs::File::create(self.dir.path().join(format!("part{}.log", self.parts.len()))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.parts.push(command.spawn().unwrap());
        self.until_listening(listens);
    }

    fn until_listening(&self, on: &str) {
        until(&format!("somebody who listens on {on}"), || {
            let output = self.at(true, "ss").args(["-Hlnt"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).split_whitespace().any(|word| word == on)
        });
    }

    fn knot(&mut self, address: &str, zones: &BTreeMap<String, String>) {
        let dir = self.dir.path().join(format!("knot-{address}"));
        std::fs::create_dir(&dir).unwrap();
        let place = dir.display();
        let mut conf = format!(
            "server:\n  rundir: {place}\n  listen: {address}@53\n  tcp-workers: 1\n  udp-workers: 1\n  \
             background-workers: 1\ndatabase:\n  storage: {place}\nlog:\n  - target: stderr\n    any: warning\n\
             template:\n  - id: default\n    storage: {place}\n    journal-content: none\n    zonefile-sync: -1\nzone:\n"
        );
        for (name, text) in zones {
            writeln!(conf, "  - domain: \"{name}\"\n    file: \"{name}.zone\"").unwrap();
            let written = self.dir.path().join(format!("{name}.zone"));
            let more = std::fs::read_to_string(written).unwrap_or_default();
            if !text.is_empty() || !more.is_empty() {
                let head = "$TTL 60\n@ SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ NS ns.test.\n";
                std::fs::write(dir.join(format!("{name}.zone")), [head, text, "\n", &more].concat()).unwrap();
            }
        }
        std::fs::write(dir.join("knot.conf"), conf).unwrap();
        let mut command = self.at(true, "knotd");
        command.arg("-c").arg(dir.join("knot.conf"));
        let on = if address.contains(':') { format!("[{address}]:53") } else { format!("{address}:53") };
        self.part(command, &on);
    }

    fn unbound(&mut self, address: &str, behind: &str) {
        let conf = format!(
            "server:\n interface: {address}\n access-control: 0.0.0.0/0 allow\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
             use-syslog: no\n module-config: iterator\n num-threads: 1\nremote-control:\n control-enable: no\n\
             forward-zone:\n name: .\n forward-addr: {behind}\n"
        );
        std::fs::write(self.dir.path().join("unbound.conf"), conf).unwrap();
        let mut command = self.at(true, "unbound");
        command.args(["-d", "-c", "unbound.conf"]);
        self.part(command, &format!("{address}:53"));
    }

    fn sink(&mut self) {
        for on in ["0.0.0.0:25", "[::]:25"] {
            let mut command = self.at(true, "smtp-sink");
            command.args(["-u", "nobody", "-m", "400", on, "400"]);
            self.part(command, on);
        }
    }

    fn postfix(&self, lines: &str) {
        let dir = self.dir.path().display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {dir}/spool\ndata_directory = {dir}/data\n\
             inet_interfaces = all\ninet_protocols = all\nmaillog_file = {dir}/maillog\nmaillog_file_prefixes = /tmp\n\
             local_recipient_maps =\nlocal_transport = discard\nmyhostname = mx.test\nsmtpd_delay_reject = yes\n{lines}\n"
        );
        let master = "25 inet n - n - - smtpd\n".to_owned()
            + "cleanup unix n - n - 0 cleanup\nrewrite unix - - n - - trivial-rewrite\n"
            + "anvil unix - - n - 1 anvil\npostlog unix-dgram n - n - 1 postlogd\n";
        self.shell(false, "mkdir etc spool data && chown postfix data");
        std::fs::write(self.dir.path().join("etc/main.cf"), main).unwrap();
        std::fs::write(self.dir.path().join("etc/master.cf"), master).unwrap();
        // Postfix resolves by the host's own configuration.
        self.shell(false, "echo nameserver 192.0.2.53 > resolv.conf && mount --bind resolv.conf /etc/resolv.conf");
        self.shell(true, &format!("script -qec 'postfix -c {dir}/etc start' postfix.log >/dev/null </dev/null"));
        self.until_listening("0.0.0.0:25");
    }

    /// Runs the program; meanwhile the server hangs, where it is to.
    fn run(&self, case: &Case) -> Output {
        let place = self.dir.path().display().to_string();
        let fill = |text: &String| text.replace("{dir}", &place);
        let mut command = self.at(false, "timeout");
        let set = std::env::vars_os().map(|(name, _)| name);
        set.filter(|n| n.to_string_lossy().starts_with("MXPROBE_")).for_each(|name| _ = command.env_remove(name));
        command.args(["60", env!("CARGO_BIN_EXE_mxprobe")]).args(case.argv.iter().map(fill));
        let ehlo = if case.reverse_names { None } else { Some(("--ehlo", "out.example")) };
        let said_for_it =
            [("--dns", "192.0.2.53"), ("--format", "jsonl"), ("--history", "none")].into_iter().chain(ehlo);
        for (flag, value) in said_for_it.filter(|(flag, _)| !case.argv.iter().any(|word| word == flag)) {
            command.args([flag, value]);
        }
        command.envs(case.env.iter().map(|(name, value)| (name, fill(value))));
        command.env("XDG_STATE_HOME", self.dir.path().join("state")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Some(Smtp::Hangs { at, near }) = &case.smtp else { return command.output().unwrap() };
        let mut server = self.at(true, "env");
        server.arg(format!("MXPROBE_TEST_HANG={at}")).arg(std::env::current_exe().unwrap());
        server.args(["--exact", "hanging_server", "--ignored", "--nocapture"]).stdout(Stdio::piped());
        let mut server = server.spawn().unwrap();
        let mut heard = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(heard.any(|line| line.contains("listening")), "the server is up");
        let child = command.spawn().unwrap();
        assert!(heard.any(|line| line.contains("hangs")), "somebody came so far");
        for line in near {
            self.shell(false, line);
        }
        let output = child.wait_with_output().unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        output
    }

    /// What of the case is not so.
    fn faults(&self, case: &Case, output: &Output) -> Vec<String> {
        let mut faults = Vec::new();
        let text = String::from_utf8_lossy(&output.stdout);
        std::fs::write(self.dir.path().join("printed"), &output.stdout).unwrap();
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        if output.status.code() != Some(case.exit) {
            faults.push(format!("{}, wanted {}", output.status, case.exit));
        }
        faults.extend(case.says.iter().filter(|says| !all.contains(&**says)).map(|says| format!("nowhere: {says}")));
        faults.extend(case.never.iter().filter(|never| all.contains(&**never)).map(|never| format!("said: {never}")));
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of_type = |name: &'static str| lines.iter().filter(move |line| line["type"] == name);
        let mut numbers: Vec<_> = of_type("session").filter_map(|session| session["seq"].as_u64()).collect();
        numbers.sort_unstable();
        if !numbers.iter().copied().eq(1..=numbers.len() as u64) {
            faults.push(format!("sessions numbered {numbers:?}"));
        }
        let mut ends: Vec<String> = of_type("session").map(told).collect();
        ends.sort_unstable();
        if case.counts.is_empty() && ends != case.ends {
            faults.push(format!("sessions {ends:#?}"));
        }
        let mut counts = BTreeMap::new();
        for (_, ending) in ends.iter().filter_map(|end| end.split_once(": ")) {
            *counts.entry(ending.to_owned()).or_insert(0) += 1;
        }
        if !case.counts.is_empty() && counts != case.counts {
            faults.push(format!("endings {counts:#?}"));
        }
        let diagnoses: Vec<String> = of_type("diagnosis").map(short).collect();
        if case.diagnoses.as_ref().is_some_and(|wanted| *wanted != diagnoses) {
            faults.push(format!("diagnoses {diagnoses:#?}"));
        }
        for (question, error) in &case.lookups {
            let asked = |line: &&Value| {
                let word = |field: &str| line[field].as_str().unwrap_or("?").to_owned();
                let resolver = word("resolver");
                let (resolver, _) = resolver.rsplit_once(':').unwrap_or((&resolver, ""));
                format!("{} {} {resolver}", word("rtype"), word("name")) == *question
            };
            match of_type("lookup").find(asked) {
                Some(line) if line["error"].as_str().unwrap_or("") == error => {}
                other => faults.push(format!("{question}: {other:?}, wanted {error:?}")),
            }
        }
        for line in &case.then {
            let done = self.at(true, "sh").args(["-c", line]).status().unwrap();
            if !done.success() {
                faults.push(format!("{line}: {done}"));
            }
        }
        faults
    }
}

impl Drop for World {
    /// The processes end with the namespace; what they wrote goes with the directory.
    fn drop(&mut self) {
        for part in self.parts.iter_mut().chain([&mut self.far]) {
            let _ = part.kill();
            let _ = part.wait();
        }
        // Postfix's own are still there, and would write on.
        let _ = self.at(false, "sh").args(["-c", "umount full 2>/dev/null; kill $(cat spool/pid/master.pid)"]).output();
    }
}

/// Our end: sources of both families, and a way out.
const NEAR: [&str; 5] = [
    "ip link set lo up",
    "ip link set near0 up",
    "for last in 10 11 12; do ip addr add 192.0.2.$last/24 dev near0; done",
    "ip addr add 2001:db8:1::10/64 dev near0 nodad",
    "ip addr add 2001:db8:1::11/64 dev near0 nodad",
];

/// The other end: two resolvers, and whole networks of which every address is there.
const FAR: [&str; 6] = [
    "ip link set lo up",
    "ip link set far0 up",
    "for last in 1 53 54; do ip addr add 192.0.2.$last/24 dev far0; done",
    "for last in 1 53; do ip addr add 2001:db8:1::$last/64 dev far0 nodad; done",
    "for net in 198.51.100.0/24 203.0.113.0/24 10.1.0.0/24; do ip route add local $net dev lo; done",
    "ip -6 route add local 2001:db8:2::/64 dev lo; ip -6 route add local fd00:1::/64 dev lo",
];

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn told(session: &Value) -> String {
    let word = |field: &str| session[field].as_str().unwrap_or("-").to_owned();
    let mut text = format!("{} to {}: {} {}", word("source"), word("address"), word("kind"), word("stage"));
    if session["kind"] != "completed" {
        session["code"].as_u64().iter().for_each(|code| write!(text, " {code}").unwrap());
        session["enhanced"].as_str().iter().for_each(|enhanced| write!(text, " {enhanced}").unwrap());
    }
    let notes = session["notes"].as_array().unwrap().iter().filter_map(Value::as_str);
    notes.for_each(|note| write!(text, " +{note}").unwrap());
    text
}

fn short(diagnosis: &Value) -> String {
    let words = |field: &str| {
        let values = diagnosis[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        values.flat_map(|value| [" ", value]).collect::<String>()
    };
    let word = |field: &str| diagnosis[field].as_str().unwrap_or("-").to_owned();
    let units = ["sources", "addresses", "candidates", "notes"].map(words).concat();
    format!("{} {}{units}", word("kind"), word("confidence"))
}

#[test]
#[ignore = "a process of its own, started by one_case"]
fn hanging_server() {
    let Ok(at) = std::env::var("MXPROBE_TEST_HANG") else { return };
    let listener = TcpListener::bind("[::]:25").unwrap();
    println!("\nlistening");
    let mut held = Vec::new();
    let mut once = Some(at);
    for stream in listener.incoming() {
        held.extend(serve(stream.unwrap(), &mut once));
    }
}

/// Serves one session, or the beginning of it; then it is to be held open.
fn serve(stream: TcpStream, hang_at: &mut Option<String>) -> Option<TcpStream> {
    let mut commands = BufReader::new(stream);
    let shakes = hang_at.as_ref().is_some_and(|at| at == "handshake");
    let mut reply = "220 mx.test ESMTP";
    let mut command = String::new();
    loop {
        let verb = command.split_whitespace().next().unwrap_or("banner").to_owned();
        if hang_at.as_ref().is_some_and(|at| *at == verb) {
            *hang_at = None;
            println!("\nhangs");
            return Some(commands.into_inner());
        }
        commands.get_mut().write_all(format!("{reply}\r\n").as_bytes()).ok()?;
        if verb == "QUIT" {
            return None;
        }
        command.clear();
        if verb == "STARTTLS" {
            command.push_str("handshake");
            continue;
        }
        commands.read_line(&mut command).ok().filter(|&n| n > 0)?;
        reply = match command.get(..4) {
            Some("QUIT") => "221 bye",
            Some("STAR") => "220 go on",
            Some("EHLO") if shakes => "250 STARTTLS",
            _ => "250 ok",
        };
    }
}
