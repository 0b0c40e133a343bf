//! Clients and channels over HTTP: their lives, what they show, and what is refused with which field.

use serde_json::{Value, json};
use trunkline_tests::{World, scenarios};

scenarios!(
    a_secret_is_shown_by_creation_alone,
    an_id_a_secret_and_a_route_are_given_out_once,
    of_many_creations_at_once_with_one_route_one_wins,
    a_patch_changes_what_it_names_and_never_the_secret,
    a_wrong_field_is_named_by_its_path,
    what_is_deleted_is_gone_and_its_id_stays_taken,
    a_list_holds_what_the_caller_may_read,
    connecting_is_all_or_none_and_may_be_repeated,
);

async fn a_secret_is_shown_by_creation_alone(world: World) {
    let plant = world.domain("plant").await;
    let clients = format!("/{}/clients", plant.id);
    let body = json!({ "name": "pump", "credentials": { "identity": "SN-1", "secret": "" }, "private_metadata": { "a": 1.50 } });
    let created = plant.owner.post(&clients, &body).await.expect(201);
    let id = created.text_at("/id");
    assert_eq!(created.header("location"), Some(format!("/clients/{id}").as_str()));
    let secret = created.text_at("/credentials/secret");
    assert_eq!(secret.len(), 43);

    let one = format!("{clients}/{id}");
    let answers = [
        plant.owner.get(&one).await.expect(200),
        plant.owner.get(&clients).await.expect(200),
        plant.owner.patch(&one, &json!({ "name": "pump 2" })).await.expect(200),
        plant
            .owner
            .post(&format!("{one}/disable"), &Value::Null)
            .await
            .expect(200),
        plant
            .owner
            .post(&format!("{one}/enable"), &Value::Null)
            .await
            .expect(200),
    ];
    for answer in answers {
        assert!(
            !answer.text().contains(&secret) && !answer.text().contains("\"secret\""),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains("SN-1"), "{}", answer.text());
    }
    world.stop().await;
}

async fn an_id_a_secret_and_a_route_are_given_out_once(world: World) {
    let (plant, depot) = (world.domain("plant").await, world.domain("depot").await);
    let (clients, channels) = (format!("/{}/clients", plant.id), format!("/{}/channels", plant.id));
    let secret = json!({ "credentials": { "secret": "a secret of mine" } });
    let id = plant.owner.post(&clients, &secret).await.expect(201).text_at("/id");
    let again = plant.owner.post(&clients, &secret).await.expect(409);
    assert_eq!(again.text_at("/reason"), "SECRET_TAKEN");
    depot
        .owner
        .post(&format!("/{}/clients", depot.id), &secret)
        .await
        .expect(201);
    for path in [clients, format!("/{}/clients", depot.id)] {
        let owner = if path.contains(&plant.id) {
            &plant.owner
        } else {
            &depot.owner
        };
        assert_eq!(
            owner
                .post(&path, &json!({ "id": id }))
                .await
                .expect(409)
                .text_at("/reason"),
            "ID_TAKEN"
        );
    }
    plant.channel("boiler").await;
    let again = plant
        .owner
        .post(&channels, &json!({ "route": "boiler" }))
        .await
        .expect(409);
    assert_eq!(again.text_at("/reason"), "ROUTE_TAKEN");
    depot.channel("boiler").await;
    world.stop().await;
}

async fn of_many_creations_at_once_with_one_route_one_wins(world: World) {
    let plant = world.domain("plant").await;
    let channels = format!("/{}/channels", plant.id);
    let body = json!({ "route": "boiler" });
    let (a, b, c, d) = tokio::join!(
        plant.owner.post(&channels, &body),
        plant.owner.post(&channels, &body),
        plant.owner.post(&channels, &body),
        plant.owner.post(&channels, &body),
    );
    let mut statuses = [a.status, b.status, c.status, d.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
    assert_eq!(plant.owner.get(&channels).await.expect(200).json()["total"], 1);
    world.stop().await;
}

async fn a_patch_changes_what_it_names_and_never_the_secret(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let one = format!("/{}/clients/{}", plant.id, device.id);
    plant
        .owner
        .patch(&one, &json!({ "metadata": { "x": 1 } }))
        .await
        .expect(200);
    // A whole entity comes back from older clients: what this method does not change is dropped.
    let whole = json!({
        "id": device.id, "name": "renamed", "tags": ["a"], "status": "disabled", "domain_id": channel,
        "credentials": { "secret": "another secret" }, "created_at": "0001-01-01T00:00:00Z",
    });
    let changed = plant.owner.patch(&one, &whole).await.expect(200).json();
    assert_eq!(changed["name"], "renamed");
    assert_eq!(
        (&changed["status"], &changed["metadata"]),
        (&json!("enabled"), &json!({ "x": 1 }))
    );
    assert_eq!(changed["domain_id"], json!(plant.id));
    let message = format!("/m/plant/c/{channel}");
    let publish = async |secret: &str| {
        let caller = world.anonymous().with_authorization(&format!("Client {secret}"));
        caller.post(&message, &json!({})).await.status
    };
    assert_eq!(
        [publish(&device.secret).await, publish("another secret").await],
        [202, 401]
    );
    world.stop().await;
}

async fn a_wrong_field_is_named_by_its_path(world: World) {
    let plant = world.domain("plant").await;
    let cases = [
        ("clients", json!({ "id": "pump" }), "id"),
        ("clients", json!({ "name": " " }), "name"),
        ("clients", json!({ "tags": ["a", ""] }), "tags[1]"),
        (
            "clients",
            json!({ "credentials": { "secret": "short" } }),
            "credentials.secret",
        ),
        ("clients", json!({ "metadata": [] }), "metadata"),
        ("channels", json!({ "route": "a__b" }), "route"),
        (
            "channels",
            json!({ "route": "a192f0c1-7b1e-7c3a-9a55-0123456789ab" }),
            "route",
        ),
        (
            "channels/connect",
            json!({ "channel_ids": [], "client_ids": [], "types": ["publish"] }),
            "channel_ids",
        ),
    ];
    for (path, body, field) in cases {
        let answer = plant
            .owner
            .post(&format!("/{}/{path}", plant.id), &body)
            .await
            .expect(400);
        assert_eq!(answer.text_at("/fields/0/field"), field, "{body}");
    }
    world.stop().await;
}

async fn what_is_deleted_is_gone_and_its_id_stays_taken(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    for (kind, id) in [("clients", &device.id), ("channels", &channel)] {
        let all = format!("/{}/{kind}", plant.id);
        let one = format!("{all}/{id}");
        plant.owner.delete(&one).await.expect(204);
        plant.owner.get(&one).await.expect(404);
        plant.owner.delete(&one).await.expect(404);
        assert_eq!(
            plant.owner.get(&format!("{all}?status=all")).await.expect(200).json()["total"],
            0
        );
        let again = plant.owner.post(&all, &json!({ "id": id })).await.expect(409);
        assert_eq!(again.text_at("/reason"), "ID_TAKEN");
    }
    plant.channel("boiler").await;
    world.stop().await;
}

async fn a_list_holds_what_the_caller_may_read(world: World) {
    let plant = world.domain("plant").await;
    let (clients, mine) = (format!("/{}/clients", plant.id), plant.device("Pump 100%").await);
    plant.device("valve").await;
    let (reader_id, reader) = world.user("reader").await;
    reader.get(&clients).await.expect(404);
    let role = json!({ "role_name": "reader", "optional_actions": ["read"], "optional_members": [reader_id] });
    plant
        .owner
        .post(&format!("/domains/{}/roles", plant.id), &role)
        .await
        .expect(201);
    assert_eq!(reader.get(&clients).await.expect(200).json()["total"], 0);
    plant
        .owner
        .post(&format!("{clients}/{}/roles", mine.id), &role)
        .await
        .expect(201);
    let page = reader.get(&clients).await.expect(200).json();
    assert_eq!(
        (&page["total"], &page["clients"][0]["id"]),
        (&json!(1), &json!(mine.id))
    );
    for (query, total) in [
        ("name=100%25", 1),
        ("name=pUMP", 1),
        ("name=_", 0),
        ("status=disabled", 0),
        ("offset=1", 1),
    ] {
        assert_eq!(
            reader.get(&format!("{clients}?{query}")).await.expect(200).json()["total"],
            total,
            "{query}"
        );
    }
    let names = |page: &Value| {
        page["clients"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].clone())
            .collect::<Vec<_>>()
    };
    let page = plant
        .owner
        .get(&format!("{clients}?order=name&dir=asc"))
        .await
        .expect(200)
        .json();
    assert_eq!(names(&page), ["Pump 100%", "valve"]);
    world.stop().await;
}

async fn connecting_is_all_or_none_and_may_be_repeated(world: World) {
    let plant = world.domain("plant").await;
    let (channel, pump, valve) = (
        plant.channel("boiler").await,
        plant.device("pump").await,
        plant.device("valve").await,
    );
    let one = format!("/{}/channels/{channel}", plant.id);
    let both = json!({ "client_ids": [pump.id, valve.id], "types": ["publish"] });
    let publish = async |secret: &str| {
        let caller = world.anonymous().with_authorization(&format!("Client {secret}"));
        caller.post("/m/plant/c/boiler", &json!({})).await.status
    };

    plant
        .owner
        .post(&format!("/{}/clients/{}/disable", plant.id, valve.id), &Value::Null)
        .await
        .expect(200);
    let refused = plant.owner.post(&format!("{one}/connect"), &both).await.expect(409);
    assert_eq!(refused.text_at("/reason"), "CLIENT_DISABLED");
    assert_eq!(
        publish(&pump.secret).await,
        403,
        "the enabled one is not connected either"
    );
    plant
        .owner
        .post(&format!("/{}/clients/{}/enable", plant.id, valve.id), &Value::Null)
        .await
        .expect(200);

    for _ in 0..2 {
        plant.owner.post(&format!("{one}/connect"), &both).await.expect(201);
    }
    assert_eq!([publish(&pump.secret).await, publish(&valve.secret).await], [202, 202]);
    for _ in 0..2 {
        plant.owner.post(&format!("{one}/disconnect"), &both).await.expect(204);
        assert_eq!([publish(&pump.secret).await, publish(&valve.secret).await], [403, 403]);
    }
    world.stop().await;
}
