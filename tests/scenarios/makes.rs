//! What devices are built with: client libraries of four makes, each in both versions, against the platform.

mod driver;

use trunkline_tests::{Device, World, scenarios};

use self::driver::{MAKES, Make, Message, Task, VERSIONS, Work};

scenarios!(
    every_make_is_told_that_its_password_is_wrong,
    what_one_make_publishes_every_make_receives_at_every_qos,
    every_make_leaves_a_retained_message_and_is_given_it,
    the_will_of_every_make_is_published_when_it_dies_and_not_when_it_says_goodbye,
    every_make_is_given_what_was_published_while_it_was_away,
    every_make_gets_its_part_of_a_shared_subscription,
);

const ALL_QOS: [u8; 3] = [0, 1, 2];

/// Every make in every version, with a name that no other has.
fn everyone() -> impl Iterator<Item = (Make, u8, String)> {
    VERSIONS
        .into_iter()
        .flat_map(|version| MAKES.map(|make| (make, version, format!("{make:?}-{version}"))))
}

fn task<'a>(device: &'a Device, version: u8, id: &str, work: Work) -> Task<'a> {
    Task {
        version,
        id: id.to_owned(),
        device,
        is_lasting: false,
        will: None,
        work,
    }
}

fn publish(topic: &str, qos: u8, payload: &str) -> Work {
    Work::Publish {
        topic: topic.to_owned(),
        payload: payload.to_owned(),
        qos,
        is_retained: false,
    }
}

fn retain(topic: &str, payload: &str) -> Work {
    Work::Publish {
        topic: topic.to_owned(),
        payload: payload.to_owned(),
        qos: 1,
        is_retained: true,
    }
}

fn receive(filter: &str, qos: u8, count: usize) -> Work {
    Work::Receive {
        filter: filter.to_owned(),
        qos,
        count,
    }
}

fn message(topic: &str, qos: u8, payload: &str) -> Message {
    Message {
        qos,
        is_retained: false,
        topic: topic.to_owned(),
        payload: payload.to_owned(),
    }
}

async fn every_make_is_told_that_its_password_is_wrong(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let impostor = Device {
        id: device.id.clone(),
        secret: plant.device("stranger").await.secret,
    };
    for (make, version, name) in everyone() {
        for work in [publish(&topic, 1, "a"), receive(&topic, 1, 1)] {
            let refused = make.start(&world, &task(&impostor, version, &name, work));
            let words = refused.refusal().await;
            let letters: String = words.chars().filter(char::is_ascii_alphabetic).collect();
            assert!(letters.to_lowercase().contains("badusername"), "{name}: {words}");
        }
    }
    world.stop().await;
}

async fn what_one_make_publishes_every_make_receives_at_every_qos(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    for version in VERSIONS {
        let count = MAKES.len() * ALL_QOS.len();
        let mut receiving = Vec::new();
        for make in MAKES {
            for granted in ALL_QOS {
                let receiver = format!("{make:?}-receives-{granted}");
                let work = receive(&format!("{topic}/#"), granted, count);
                let running = make.start(&world, &task(&device, version, &receiver, work));
                receiving.push((receiver, granted, running.subscribed().await));
            }
        }
        let mut published = Vec::new();
        for make in MAKES {
            let name = format!("{make:?}-publishes");
            for qos in ALL_QOS {
                let (below, payload) = (format!("{topic}/{make:?}/{qos}"), format!("{make:?} at {qos}"));
                make.finish(&world, &task(&device, version, &name, publish(&below, qos, &payload)))
                    .await;
                published.push(message(&below, qos, &payload));
            }
        }
        published.sort_by(|one, other| one.topic.cmp(&other.topic));
        for (receiver, granted, running) in receiving {
            let mut expected = published.clone();
            for message in &mut expected {
                message.qos = message.qos.min(granted);
            }
            let mut received = running.finish().await;
            received.sort_by(|one, other| one.topic.cmp(&other.topic));
            assert_eq!(received, expected, "{receiver} in version {version}");
        }
    }
    world.stop().await;
}

async fn every_make_leaves_a_retained_message_and_is_given_it(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    for (make, version, name) in everyone() {
        let topic = format!("{}/{name}", plant.topic(&channel));
        let do_task = async |work| make.finish(&world, &task(&device, version, &name, work)).await;
        do_task(retain(&topic, "lasting")).await;
        let mut expected = message(&topic, 1, "lasting");
        expected.is_retained = true;
        assert_eq!(do_task(receive(&topic, 1, 1)).await, [expected], "{name}");
        do_task(retain(&topic, "")).await;
        let receiving = make.start(&world, &task(&device, version, &name, receive(&topic, 1, 1)));
        let receiving = receiving.subscribed().await;
        let publisher = format!("{name}-publishes");
        let live = task(&device, version, &publisher, publish(&topic, 1, "live"));
        make.finish(&world, &live).await;
        assert_eq!(receiving.finish().await, [message(&topic, 1, "live")], "{name}");
    }
    world.stop().await;
}

async fn the_will_of_every_make_is_published_when_it_dies_and_not_when_it_says_goodbye(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    for (make, version, name) in everyone() {
        let topic = format!("{}/{name}", plant.topic(&channel));
        let with_will = |will: &str, count| Task {
            will: Some((topic.clone(), will.to_owned())),
            ..task(&device, version, &name, receive(&format!("{topic}/nothing"), 1, count))
        };
        let heir = task(&device, version, &format!("{name}-heir"), receive(&topic, 1, 1));
        let heir = make.start(&world, &heir).subscribed().await;
        make.finish(&world, &with_will("not this", 0)).await;
        let mortal = make.start(&world, &with_will("gone", 1));
        mortal.subscribed().await.kill().await;
        assert_eq!(heir.finish().await, [message(&topic, 1, "gone")], "{name}");
    }
    world.stop().await;
}

async fn every_make_is_given_what_was_published_while_it_was_away(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    for (make, version, name) in everyone() {
        let topic = format!("{}/{name}", plant.topic(&channel));
        let stay = |count| Task {
            is_lasting: true,
            ..task(&device, version, &name, receive(&topic, 2, count))
        };
        assert_eq!(make.finish(&world, &stay(0)).await, [], "{name}");
        let publisher = format!("{name}-publishes");
        let mut missed = Vec::new();
        // In this order for every make: a library may hand over what it has at QoS 2 only when its exchange is over.
        for (qos, payload) in [(1, "one"), (1, "two"), (2, "three"), (2, "four")] {
            make.finish(
                &world,
                &task(&device, version, &publisher, publish(&topic, qos, payload)),
            )
            .await;
            missed.push(message(&topic, qos, payload));
        }
        assert_eq!(make.finish(&world, &stay(missed.len())).await, missed, "{name}");
    }
    world.stop().await;
}

async fn every_make_gets_its_part_of_a_shared_subscription(world: World) {
    const EACH: usize = 2;
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    for version in VERSIONS {
        let filter = format!("$share/workers-{version}/{topic}");
        let mut members = Vec::new();
        for make in MAKES {
            // It waits for one more than its part, so that none leaves while the others are served.
            let work = receive(&filter, 1, EACH + 1);
            let member = task(&device, version, &format!("{make:?}-{version}"), work);
            members.push(make.start(&world, &member).subscribed().await);
        }
        let payloads: Vec<String> = (0..MAKES.len() * EACH).map(|number| number.to_string()).collect();
        for (payload, make) in payloads.iter().zip(MAKES.into_iter().cycle()) {
            let name = format!("{make:?}-publishes");
            make.finish(&world, &task(&device, version, &name, publish(&topic, 1, payload)))
                .await;
        }
        let mut received = Vec::new();
        for member in members {
            let part = member.received(EACH).await;
            received.extend(part.into_iter().map(|message| message.payload));
        }
        received.sort();
        assert_eq!(received, payloads, "each message at one member, in version {version}");
    }
    world.stop().await;
}
