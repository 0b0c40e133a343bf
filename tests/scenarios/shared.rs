//! Shared subscriptions on the platform: one member of a group gets a message, and only one that may have it.

use trunkline_mqtt_wire::{Packet, QoS, ReasonCode, Version};
use trunkline_tests::{World, scenarios};

use crate::wire::{BOTH, log_in_as};

scenarios!(
    a_message_is_handed_to_one_member_and_spelled_as_its_filter,
    what_a_member_may_not_have_any_more_is_handed_to_one_that_may,
    a_group_is_of_one_domain,
    a_client_that_spells_a_channel_in_two_ways_is_in_two_groups,
);

async fn a_message_is_handed_to_one_member_and_spelled_as_its_filter(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topic = plant.topic(&channel);
    let mut members = Vec::new();
    for (number, version) in BOTH.into_iter().enumerate() {
        let mut member = log_in_as(&world, version, &device, &format!("member-{number}")).await;
        let filter = format!("$share/workers/{topic}/#");
        assert!(!member.subscribe(&filter, QoS::AtLeastOnce).await.is_error());
        members.push(member);
    }
    let mut publisher = log_in_as(&world, Version::V5, &device, "publisher").await;
    let below = format!("{topic}/temperature");
    for number in 0..6 {
        publisher.publish(&below, QoS::AtLeastOnce, number.to_string()).await;
        let message = members[number % 2].message().await;
        assert_eq!(
            (&*message.topic, &*message.payload),
            (&*below, number.to_string().as_bytes())
        );
    }
    for member in &mut members {
        assert!(member.settle().await.is_empty());
    }
    world.stop().await;
}

async fn what_a_member_may_not_have_any_more_is_handed_to_one_that_may(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let guest = plant.device("guest").await;
    plant.connect(&channel, &guest, &["subscribe"]).await;
    let topic = plant.topic(&channel);
    let filter = format!("$share/workers/{topic}");
    let mut outcast = log_in_as(&world, Version::V5, &guest, "outcast").await;
    let mut member = log_in_as(&world, Version::V5, &device, "member").await;
    for client in [&mut outcast, &mut member] {
        assert!(!client.subscribe(&filter, QoS::AtLeastOnce).await.is_error());
    }
    let mut publisher = log_in_as(&world, Version::V5, &device, "publisher").await;
    publisher.publish(&topic, QoS::AtLeastOnce, "under way").await;
    // It has the first message, and does not acknowledge it.
    assert!(matches!(outcast.receive().await, Packet::Publish(_)));
    plant.disconnect(&channel, &guest, &["subscribe"]).await;
    for number in 0..4 {
        publisher.publish(&topic, QoS::AtLeastOnce, number.to_string()).await;
        assert_eq!(member.message().await.payload, number.to_string());
    }
    assert!(outcast.settle().await.is_empty());
    assert_eq!(
        outcast.subscribe(&filter, QoS::AtLeastOnce).await,
        ReasonCode::NotAuthorized
    );
    outcast.disconnect().await;
    assert_eq!(member.message().await.payload, "under way");
    assert!(member.settle().await.is_empty());
    world.stop().await;
}

async fn a_group_is_of_one_domain(world: World) {
    let mut members = Vec::new();
    for route in ["plant", "other"] {
        let domain = world.domain(route).await;
        let (channel, device) = domain.channel_with_device("boiler").await;
        let topic = domain.topic(&channel);
        let mut member = log_in_as(&world, Version::V5, &device, "member").await;
        let filter = format!("$share/workers/{topic}");
        assert!(!member.subscribe(&filter, QoS::AtLeastOnce).await.is_error());
        members.push((member, device, topic));
    }
    for turn in 0..2 {
        let (_, device, topic) = &members[turn];
        let mut publisher = log_in_as(&world, Version::V5, device, "publisher").await;
        publisher.publish(topic, QoS::AtLeastOnce, "only here").await;
        assert_eq!(members[turn].0.message().await.payload, "only here");
        assert!(members[1 - turn].0.settle().await.is_empty());
    }
    world.stop().await;
}

async fn a_client_that_spells_a_channel_in_two_ways_is_in_two_groups(world: World) {
    let plant = world.domain("plant").await;
    let (channel, device) = plant.channel_with_device("boiler").await;
    let topics = [plant.topic(&channel), "m/plant/c/boiler".to_owned()];
    let mut member = log_in_as(&world, Version::V5, &device, "member").await;
    let share = |topic: &str| format!("$share/workers/{topic}");
    for topic in &topics {
        assert!(!member.subscribe(&share(topic), QoS::AtLeastOnce).await.is_error());
    }
    let mut publisher = log_in_as(&world, Version::V5, &device, "publisher").await;
    publisher.publish(&topics[0], QoS::AtLeastOnce, "for both").await;
    let mut spellings = [member.message().await.topic, member.message().await.topic];
    spellings.sort();
    assert!(spellings.iter().all(|spelling| topics.contains(&spelling.to_string())));
    assert_ne!(spellings[0], spellings[1]);
    member.unsubscribe(&share(&topics[0])).await;
    publisher.publish(&topics[0], QoS::AtLeastOnce, "for one").await;
    assert_eq!(*member.message().await.topic, *topics[1]);
    assert!(member.settle().await.is_empty());
    world.stop().await;
}
