//! What a caller's standing is worth, and when it ends: disabled users, the last administrator, roles that are taken away; and that what
//! is hidden looks like what does not exist.

use serde_json::{Value, json};
use trunkline_testkit::http::Answer;
use trunkline_tests::{PASSWORD, World, scenarios};
use uuid::Uuid;

use crate::grpc::Told;
use crate::subject::{account, create, http};

scenarios!(
    a_user_who_disables_himself_is_out_until_an_administrator_lets_him_in,
    the_last_administrator_stays,
    a_role_that_is_deleted_holds_no_longer,
    what_is_hidden_looks_like_what_does_not_exist,
);

async fn a_user_who_disables_himself_is_out_until_an_administrator_lets_him_in(world: World) {
    let ann = account(&world, "ann", "user").await;
    let (as_ann, id) = (http(&world, &ann), ann.id.unwrap());
    as_ann
        .post(&format!("/users/{id}/disable"), &Value::Null)
        .await
        .expect(200);
    let out = Told::failure("UNAUTHENTICATED", "USER_DISABLED");
    assert_eq!(Told::by_http(&as_ann.get("/users/profile").await), out);
    let enable = format!("/users/{id}/enable");
    assert_eq!(Told::by_http(&as_ann.post(&enable, &Value::Null).await), out);
    let login = json!({ "username": "ann", "password": PASSWORD });
    let login = world.anonymous().post("/users/tokens/issue", &login).await;
    assert_eq!(Told::by_http(&login), out);

    world.admin.post(&enable, &Value::Null).await.expect(200);
    as_ann.get("/users/profile").await.expect(200);
    world.stop().await;
}

async fn the_last_administrator_stays(world: World) {
    let id = world.admin.get("/users/profile").await.expect(200).text_at("/id");
    let disable = format!("/users/{id}/disable");
    let refused = world.admin.post(&disable, &Value::Null).await.expect(409);
    assert_eq!(
        Told::by_http(&refused),
        Told::failure("FAILED_PRECONDITION", "LAST_ADMIN")
    );

    let second = account(&world, "second-admin", "admin").await;
    world.admin.post(&disable, &Value::Null).await.expect(200);
    let own = format!("/users/{}/disable", second.id.clone().unwrap());
    http(&world, &second).post(&own, &Value::Null).await.expect(409);
    world.stop().await;
}

async fn a_role_that_is_deleted_holds_no_longer(world: World) {
    let plant = world.domain("plant").await;
    let kettle = plant.device("kettle").await.id;
    let (ann, as_ann) = world.user("ann").await;
    let role = async |path: &str, name: &str, action: &str| {
        let body = json!({ "role_name": name, "optional_actions": [action], "optional_members": [ann] });
        create(&plant.owner, path, &body).await
    };
    let of_domain = format!("/domains/{}/roles", plant.id);
    let member = role(&of_domain, "members", "view_role_users").await;
    let client = format!("/{}/clients/{kettle}", plant.id);
    let reader = role(&format!("{client}/roles"), "readers", "read").await;

    as_ann.get(&client).await.expect(200);
    plant
        .owner
        .delete(&format!("{client}/roles/{reader}"))
        .await
        .expect(204);
    as_ann.get(&client).await.expect(404);
    let list = format!("/{}/clients", plant.id);
    as_ann.get(&list).await.expect(200);
    plant.owner.delete(&format!("{of_domain}/{member}")).await.expect(204);
    as_ann.get(&list).await.expect(404);
    world.stop().await;
}

/// What an answer says, without what differs from request to request.
fn words(answer: &Answer, id: &str) -> Value {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    serde_json::from_str(&body.to_string().replace(id, "ID")).unwrap()
}

async fn what_is_hidden_looks_like_what_does_not_exist(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let (_, stranger) = world.user("stranger").await;
    let domain = &plant.id;
    for (path, hidden) in [
        ("/domains/ID".to_owned(), domain),
        ("/ID/clients".to_owned(), domain),
        (format!("/{domain}/clients/ID"), &device.id),
        (format!("/{domain}/channels/ID"), &channel),
        (format!("/{domain}/channels/ID/messages"), &channel),
    ] {
        let absent = Uuid::now_v7().to_string();
        let of_hidden = stranger.get(&path.replace("ID", hidden)).await.expect(404);
        let of_absent = stranger.get(&path.replace("ID", &absent)).await.expect(404);
        assert_eq!(words(&of_hidden, hidden), words(&of_absent, &absent), "{path}");
    }
    world.stop().await;
}
