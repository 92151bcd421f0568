//! Every route and every stream, for everybody who may come: one layer decides, and it decides by what was shown alone.

use std::time::Duration;

use gridctl_core::access::{Need, Role};
use gridctl_master::api::RULES;
use gridctl_proto::v1;
use gridctl_proto::v1::worker_service_client::WorkerServiceClient;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ED25519, SanType,
};
use tonic::Code;

use super::lab::now;
use super::nodes::{Caller, Certificate, Master, runtime};

/// What an answer says of who asked.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Let {
    In,
    Unknown,
    Forbidden,
    /// The connection broke.
    Out,
}

fn told(status: Option<u16>) -> Let {
    match status {
        None => Let::Out,
        Some(401) => Let::Unknown,
        Some(403) => Let::Forbidden,
        Some(_) => Let::In,
    }
}

/// A certificate that another authority of the same name has made for that worker.
fn forged(worker: &[u8]) -> Certificate {
    let worker = gridctl_core::id::WorkerId(worker.try_into().unwrap());
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "gridctl");
    authority.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = authority.self_signed(&key).unwrap();
    let issuer = Issuer::new(authority, key);
    let mut params = CertificateParams::default();
    let name = format!("{worker}.99999999999999.worker.gridctl");
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let chain = vec![certificate.der().to_vec(), own.der().to_vec()];
    Certificate { worker: worker.0.to_vec(), chain, key: key.serialize_der() }
}

/// What is shown: in words, a token, a certificate; and the role that it gives.
type Tried<'a> = (&'a str, Option<&'a str>, Option<&'a Certificate>, Option<Role>);

/// What becomes of somebody of this role, or of nobody, at a route with this need.
fn expected(need: Need, role: Option<Role>) -> Let {
    let is_worker = role == Some(Role::Worker);
    let is_in = match need {
        Need::Nothing => true,
        Need::Work | Need::Certificate => is_worker,
        Need::Person(least) => !is_worker && role.is_some_and(|role| role >= least),
    };
    match (is_in, role) {
        (true, _) => Let::In,
        (false, None) => Let::Unknown,
        (false, Some(_)) => Let::Forbidden,
    }
}

#[test]
fn g34_g35_every_route_is_open_to_its_roles_and_to_nobody_else_whatever_is_shown() {
    let master = Master::start(&[]);
    let token = |role: &str| master.token(&["--role", role]);
    let [(read, _), (submit, _), (admin, _), (revoked, id)] = ["read", "submit", "admin", "admin"].map(token);
    assert_eq!(master.lab.run(&["token", "revoke", &id]).code, Some(0));
    let (expired, _) = master.token(&["--role", "admin", "--for", "1s"]);
    let join = std::fs::read_to_string(master.join_file()).unwrap();
    let advert = std::fs::read(master.lab.data().join("master.json")).unwrap();
    let advert: serde_json::Value = serde_json::from_slice(&advert).unwrap();
    let own = advert["token"].as_str().unwrap();
    runtime().block_on(async {
        let worker = master.join(&Master::token_of(&join)).await.unwrap();
        let shut_out = master.join(&Master::token_of(&join)).await.unwrap();
        let mut as_admin = Caller::connect(&master, None).await.unwrap();
        let name = gridctl_core::id::WorkerId(shut_out.worker.clone().try_into().unwrap());
        let path = format!("/api/v1/workers/{name}/revoke");
        assert_eq!(as_admin.ask("POST", &path, Some(&admin)).await, Some(200));
        let began = now();
        while as_admin.ask("GET", "/api/v1/sweeps", Some(&expired)).await != Some(401) {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let cut = &admin[1..];
        let join = Master::token_of(&join);
        let other = forged(&worker.worker);
        // What is shown, and the role that it gives; `None` is nobody.
        let nobody = None;
        let callers: [Tried<'_>; 13] = [
            ("nothing", None, None, nobody),
            ("a wrong token", Some("0123456789"), None, nobody),
            ("a cut token", Some(cut), None, nobody),
            ("an expired token", Some(&expired), None, nobody),
            ("a revoked token", Some(&revoked), None, nobody),
            ("a join token", Some(&join), None, nobody),
            ("the owner's token", Some(own), None, nobody),
            ("read", Some(&read), None, Some(Role::Read)),
            ("submit", Some(&submit), None, Some(Role::Submit)),
            ("admin", Some(&admin), None, Some(Role::Admin)),
            ("a worker", None, Some(&worker), Some(Role::Worker)),
            ("a worker with an admin's token", Some(&admin), Some(&worker), Some(Role::Worker)),
            ("a worker that was shut out", None, Some(&shut_out), nobody),
        ];
        for rule in RULES {
            let path = rule.path.replace("{sweep}", "~").replace("{trial}", "best");
            let path =
                path.replace("{worker}", "aaaaaaaa").replace("{token}", "none").replace("{pack}", "none");
            for (what, token, certificate, role) in callers {
                let mut caller = Caller::connect(&master, certificate).await.unwrap();
                let answer = told(caller.ask(rule.method, &path, token).await);
                assert_eq!(answer, expected(rule.need, role), "{} {path} with {what}", rule.method);
            }
            // A certificate of another authority ends the handshake, whatever token comes with it.
            let answer = match Caller::connect(&master, Some(&other)).await {
                Some(mut caller) => told(caller.ask(rule.method, &path, Some(&admin)).await),
                None => Let::Out,
            };
            assert_eq!(answer, Let::Out, "{} {path} with a forged certificate", rule.method);
        }
        // What is not there is not there for those who may look, and for others it is not told.
        for (token, expected) in [(Some(&*read), 404), (None, 401)] {
            let mut caller = Caller::connect(&master, None).await.unwrap();
            assert_eq!(caller.ask("GET", "/api/v1/nothing", token).await, Some(expected));
            assert_eq!(caller.ask("GET", "/", token).await, Some(expected));
        }
    });
}

#[test]
fn g35_g37_a_worker_speaks_as_the_one_of_its_certificate_and_not_as_the_one_that_its_message_names() {
    let master = Master::start(&[]);
    let token = Master::token_of(&std::fs::read_to_string(master.join_file()).unwrap());
    runtime().block_on(async {
        let (mine, other) = (master.join(&token).await.unwrap(), master.join(&token).await.unwrap());
        let code = |worker: Vec<u8>| {
            let (master, mine) = (&master, &mine);
            async move {
                let mut client = WorkerServiceClient::new(master.channel(Some(mine)).await);
                let hello = hello(worker);
                let said = tokio_stream::iter([v1::WorkerMessage {
                    say: Some(v1::worker_message::Say::Hello(hello)),
                }]);
                // The other half stays open, as a worker's does.
                let said = tokio_stream::StreamExt::chain(said, tokio_stream::pending());
                let mut told = client.connect(said).await?.into_inner();
                told.message().await
            }
        };
        let welcome = code(mine.worker.clone()).await.unwrap().unwrap();
        assert!(matches!(welcome.say, Some(v1::master_message::Say::Welcome(_))), "{welcome:?}");
        for worker in [other.worker.clone(), vec![0; 5]] {
            let mut client = WorkerServiceClient::new(master.channel(Some(&mine)).await);
            let first = v1::LiveOutput { say: Some(v1::live_output::Say::Worker(worker.clone())) };
            let mut asked = client.live(tokio_stream::iter([first])).await.unwrap().into_inner();
            assert_eq!(asked.message().await.unwrap_err().code(), Code::PermissionDenied);
            assert_eq!(code(worker).await.unwrap_err().code(), Code::PermissionDenied);
        }
    });
}

#[test]
fn g54_other_protocols_are_refused_with_what_to_do_and_unknown_methods_are_none() {
    const UNIMPLEMENTED: &str = "12";
    const UNAUTHENTICATED: &str = "16";
    let master = Master::start(&[]);
    let token = Master::token_of(&std::fs::read_to_string(master.join_file()).unwrap());
    runtime().block_on(async {
        let mine = master.join(&token).await.unwrap();
        for protocol in [0, 999, u32::MAX] {
            let mut client = WorkerServiceClient::new(master.channel(Some(&mine)).await);
            let hello = v1::Hello { protocol, ..hello(mine.worker.clone()) };
            let said =
                tokio_stream::iter([v1::WorkerMessage { say: Some(v1::worker_message::Say::Hello(hello)) }]);
            let said = tokio_stream::StreamExt::chain(said, tokio_stream::pending());
            let mut told = client.connect(said).await.unwrap().into_inner();
            let first = told.message().await.unwrap().unwrap();
            let Some(v1::master_message::Say::Refused(v1::Refused { why })) = first.say else {
                panic!("{first:?}");
            };
            assert!(why.contains(&format!("speaks {protocol}")) && why.contains("same release"), "{why}");
        }
        let mut worker = Caller::connect(&master, Some(&mine)).await.unwrap();
        let (_, status) = worker.call("/gridctl.v1.WorkerService/Nothing").await;
        assert_eq!(status.as_deref(), Some(UNIMPLEMENTED));
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let mut worker = Caller::connect(&master, Some(&mine)).await.unwrap();
        assert_eq!(worker.call(reflection).await.0, 404, "there is no reflection");
        for path in ["/gridctl.v1.WorkerService/Nothing", reflection] {
            let mut nobody = Caller::connect(&master, None).await.unwrap();
            let (_, status) = nobody.call(path).await;
            assert_eq!(status.as_deref(), Some(UNAUTHENTICATED), "{path}");
        }
    });
}

fn hello(worker: Vec<u8>) -> v1::Hello {
    v1::Hello {
        machine: None,
        taken: false,
        protocol: gridctl_core::protocol::PROTOCOL,
        release: "test".to_owned(),
        worker,
        host: "elsewhere".to_owned(),
        capacity: Some(v1::Capacity { cpu_milli: 1_000, mem_mib: 1_000, gpus: 0, slots: 1 }),
        health: None,
        ..v1::Hello::default()
    }
}

#[test]
fn who_was_let_in_is_let_out_within_seconds_of_the_end_of_what_it_showed() {
    let master = Master::start(&["--certificate-life", "5s"]);
    let token = Master::token_of(&std::fs::read_to_string(master.join_file()).unwrap());
    let (read, id) = master.token(&["--role", "read"]);
    runtime().block_on(async {
        let mine = master.join(&token).await.unwrap();
        let joined = now();
        let mut client = WorkerServiceClient::new(master.channel(Some(&mine)).await);
        let said = tokio_stream::iter([v1::WorkerMessage {
            say: Some(v1::worker_message::Say::Hello(hello(mine.worker.clone()))),
        }]);
        let said = tokio_stream::StreamExt::chain(said, tokio_stream::pending());
        let mut heard = client.connect(said).await.unwrap().into_inner();
        let mut caller = Caller::connect(&master, Some(&mine)).await.unwrap();
        assert_eq!(caller.ask("GET", "/api/v1/sweeps", None).await, Some(403));
        let status = loop {
            match heard.message().await {
                Ok(Some(_)) => {}
                other => break other.unwrap_err(),
            }
        };
        assert!(status.message().contains("expired"), "{status}");
        let after = joined.elapsed();
        assert!(after >= Duration::from_secs(4) && after < Duration::from_secs(10), "{after:?}");
        // On a connection that stands, unless it was silent for too long, and on a new one.
        let answer = caller.ask("GET", "/api/v1/sweeps", None).await;
        assert!(matches!(answer, Some(401) | None), "{answer:?}");
        loop {
            let again = match Caller::connect(&master, Some(&mine)).await {
                Some(mut caller) => told(caller.ask("GET", "/api/v1/sweeps", None).await),
                None => Let::Out,
            };
            // A certificate's end is a whole second; until then nobody is known by it.
            assert!(matches!(again, Let::Out | Let::Unknown) && joined.elapsed() < Duration::from_secs(12));
            if again == Let::Out {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        master.lab.write("s.yaml", "command: ['true']\nmetric: {name: s}\nparameters: {x: {value: 1}}\n");
        assert_eq!(master.lab.run(&["submit", "s.yaml"]).code, Some(0));
        let mut person = Caller::connect(&master, None).await.unwrap();
        let mut viewer = Caller::connect(&master, None).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        let shown = read.clone();
        tasks.spawn(async move { viewer.events("/api/v1/sweeps/s/events?every_ms=100", &shown).await });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(tasks.try_join_next().is_none(), "the sweep waits for a worker, and the viewer with it");
        assert_eq!(person.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(200));
        assert_eq!(master.lab.run(&["token", "revoke", &id]).code, Some(0));
        assert_eq!(person.ask("GET", "/api/v1/sweeps", Some(&read)).await, Some(401));
        let events = tokio::time::timeout(Duration::from_secs(5), tasks.join_next()).await;
        let events = events.expect("the viewer is let out as well").unwrap().unwrap();
        assert!(events.contains("event: status"), "{events}");
    });
}
