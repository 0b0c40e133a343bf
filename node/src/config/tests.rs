//! What the configuration accepts, from where, and how it is shown.

use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: Flags) -> Result<Config, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trunkline.toml");
    std::fs::write(&path, file).unwrap();
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    Config::load(
        &Flags {
            config: Some(path),
            ..flags
        },
        environment.into_iter(),
    )
}

#[test]
fn each_source_goes_over_the_one_before() {
    let file = "data = \"from-file\"\n[listen]\nhttp = \"127.0.0.1:1\"\ngrpc = \"127.0.0.1:1\"\nmqtt = \"127.0.0.1:1\"";
    let environment = [
        ("TRUNKLINE_LISTEN__GRPC", "127.0.0.1:2"),
        ("TRUNKLINE_LISTEN__MQTT", "127.0.0.1:2"),
    ];
    let flags = Flags {
        mqtt: Some("127.0.0.1:3".parse().unwrap()),
        ..Flags::default()
    };
    let config = load(file, &environment, flags).unwrap();
    let ports = config.listen.named().map(|(_, address)| address.port());
    assert_eq!(ports, [1, 2, 3, 7071]);
    assert_eq!(config.data, PathBuf::from("from-file"));
}

#[test]
fn an_unknown_key_is_refused_by_name_wherever_it_comes_from() {
    let from_file = load("[listen]\nhtpp = \"127.0.0.1:1\"", &[], Flags::default())
        .unwrap_err()
        .to_string();
    assert!(from_file.contains("unknown field `htpp`"), "{from_file}");
    let from_environment = load("", &[("TRUNKLINE_DTA", "x")], Flags::default())
        .unwrap_err()
        .to_string();
    assert!(from_environment.contains("unknown field `dta`"), "{from_environment}");
    assert!(load("", &[("TRUNKLINE_TEST_POSTGRES", "x")], Flags::default()).is_ok());
}

#[test]
fn a_listener_beyond_loopback_needs_consent() {
    let open = Flags {
        http: Some("0.0.0.0:8080".parse().unwrap()),
        ..Flags::default()
    };
    let refused = load("", &[], open.clone()).unwrap_err().to_string();
    assert!(refused.contains("--allow-plaintext"), "{refused}");
    assert!(
        load(
            "",
            &[],
            Flags {
                allow_plaintext: true,
                ..open
            }
        )
        .is_ok()
    );
}

#[test]
fn tls_has_a_listener_and_the_listener_has_tls() {
    let listener = "[listen]\nmqtts = \"0.0.0.0:8883\"\n";
    let files = "[mqtt.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
    let refused = |file: &str| load(file, &[], Flags::default()).unwrap_err().to_string();
    assert!(refused(listener).contains("[mqtt.tls]"));
    assert!(refused(files).contains("mqtts"));
    let config = load(&format!("{listener}{files}"), &[], Flags::default()).unwrap();
    assert_eq!(config.listen.mqtts, Some("0.0.0.0:8883".parse().unwrap()));
    let shown = config.render().unwrap();
    assert!(shown.contains("[mqtt.tls]\ncertificate = \"c.pem\""), "{shown}");
    assert!(refused(&format!("{listener}{files}client_certificate = \"maybe\"")).contains("maybe"));

    let listener = "[listen]\nhttps = \"0.0.0.0:8443\"\n";
    let files = files.replace("mqtt", "http");
    assert!(refused(listener).contains("[http.tls]"));
    assert!(refused(&files).contains("https"));
    assert!(load(&format!("{listener}{files}"), &[], Flags::default()).is_ok());
}

#[test]
fn a_websocket_without_tls_stays_near_and_its_origins_are_origins() {
    let near = "[listen]\nws = \"127.0.0.1:8083\"\n";
    assert!(load(near, &[], Flags::default()).is_ok());
    let far = load("[listen]\nws = \"0.0.0.0:8083\"", &[], Flags::default()).unwrap_err();
    assert!(far.to_string().contains("--allow-plaintext"), "{far}");
    let origins = |origin: &str| {
        let file = format!("{near}[mqtt.websocket]\norigins = [{origin:?}]");
        load(&file, &[], Flags::default())
    };
    assert!(origins("https://app.example").is_ok() && origins("http://localhost:3000").is_ok() && origins("*").is_ok());
    for wrong in ["app.example", "https://app.example/", "https://*.example", "https://"] {
        let refused = origins(wrong).unwrap_err().to_string();
        assert!(
            refused.contains("[mqtt.websocket]") && refused.contains(wrong),
            "{refused}"
        );
    }
}

#[test]
fn a_proxy_is_in_front_of_a_listener_that_is_there_and_is_trusted_by_name() {
    let proxies = |listeners: &str, trusted: &str| {
        let file = format!("[mqtt.proxy_protocol]\nlisteners = [{listeners}]\ntrusted_peers = [{trusted}]");
        load(&file, &[], Flags::default())
    };
    let config = proxies("\"mqtt\"", "\"10.0.0.0/8\", \"::1\"").unwrap();
    assert!(config.render().unwrap().contains("10.0.0.0/8"));
    for (listeners, trusted, why) in [
        ("\"mqtt\"", "", "nobody could connect"),
        ("", "\"::1\"", "nobody could connect"),
        ("\"wss\"", "\"::1\"", "`wss`"),
        ("\"http\"", "\"::1\"", "http"),
        ("\"mqtt\"", "\"10.0.0.1/8\"", "10.0.0.1/8"),
    ] {
        let refused = proxies(listeners, trusted).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn a_collector_is_near_or_the_network_is_said_to_be_protected() {
    let file = |endpoint: &str| format!("[telemetry]\notlp_endpoint = {endpoint:?}");
    assert!(load(&file("http://localhost:4317"), &[], Flags::default()).is_ok());
    let far = file("http://collector.example:4317");
    let refused = load(&far, &[], Flags::default()).unwrap_err().to_string();
    assert!(
        refused.contains("[telemetry]") && refused.contains("--allow-plaintext"),
        "{refused}"
    );
    assert!(load(&format!("allow_plaintext = true\n{far}"), &[], Flags::default()).is_ok());
    let refused = load(&file("127.0.0.1:4317"), &[], Flags::default())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("`http://127.0.0.1:4317` is an example"), "{refused}");
}

#[test]
fn a_fraction_comes_from_the_environment_as_one() {
    let ratio = |value: &str| load("", &[("TRUNKLINE_TELEMETRY__SAMPLING_RATIO", value)], Flags::default());
    assert_eq!(ratio("0.25").unwrap().telemetry.sampling_ratio, 0.25);
    assert_eq!(ratio("1").unwrap().telemetry.sampling_ratio, 1.0);
    assert!(ratio("inf").is_err() && ratio("1.5").is_err());
    let shown = ratio("0.25").unwrap().render().unwrap();
    assert!(
        shown.contains("[telemetry]\nsampling_ratio = 0.25\nfollow_outside = false"),
        "{shown}"
    );
}

#[test]
fn what_is_shown_has_no_passwords() {
    let mut config = Config::default();
    config.auth.database_url = Some("postgres://trunkline:hunter2@db:5432/auth".into());
    config.things.database_url = Some("postgres://db/things?user=u&password=hunter2".into());
    let shown = config.render().unwrap();
    assert!(
        !shown.contains("hunter2") && shown.contains("trunkline:…@db:5432"),
        "{shown}"
    );
}
