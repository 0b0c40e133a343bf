"""Does what its one argument says as a client built with Eclipse Paho: the keys are those that `driver.rs` writes.

It prints `subscribed` when that is acknowledged and `message QOS RETAINED TOPIC PAYLOAD` for each one received, and says goodbye when
its work is done. A refusal goes to standard error.
"""

import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Worker:
    """One connection and how much of its work is left."""

    def __init__(self, task):
        self.task = task
        self.left = 1 if task["publish"] else task["receive"]["count"]
        self.is_subscribed = False
        is_v5 = task["version"] == 5
        session = {} if is_v5 else {"clean_session": not task["lasting"]}
        protocol = mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, task["id"], protocol=protocol, **session)
        self.client.username_pw_set(task["user"], task["password"])
        if task["will"]:
            self.client.will_set(task["will"]["topic"], task["will"]["payload"], qos=1)
        self.client.on_connect = self.on_connect
        self.client.on_publish = self.on_publish
        self.client.on_subscribe = self.on_subscribe
        self.client.on_message = self.on_message

    def run(self):
        options = {}
        if self.task["version"] == 5:
            options = {"clean_start": not self.task["lasting"], "properties": Properties(PacketTypes.CONNECT)}
            options["properties"].SessionExpiryInterval = 3600 if self.task["lasting"] else 0
        self.client.connect("127.0.0.1", self.task["port"], **options)
        while self.left or not (self.task["publish"] or self.is_subscribed):
            outcome = self.client.loop()
            if outcome != mqtt.MQTT_ERR_SUCCESS:
                sys.exit(mqtt.error_string(outcome))
        # Not earlier: paho acknowledges a message after the callback that has it.
        self.client.disconnect()
        while self.client.loop() == mqtt.MQTT_ERR_SUCCESS:
            pass

    def on_connect(self, client, _data, _flags, reason, _properties):
        check(reason)
        publish, receive = self.task["publish"], self.task["receive"]
        if publish:
            client.publish(publish["topic"], publish["payload"], publish["qos"], publish["retain"])
        else:
            client.subscribe(receive["filter"], receive["qos"])

    def on_publish(self, _client, _data, _mid, reason, _properties):
        check(reason)
        self.left = 0

    def on_subscribe(self, _client, _data, _mid, reasons, _properties):
        check(reasons[0])
        self.is_subscribed = True
        print("subscribed", flush=True)

    def on_message(self, _client, _data, message):
        self.left -= 1
        print("message", message.qos, int(message.retain), message.topic, message.payload.decode(), flush=True)


def check(reason):
    if reason.is_failure:
        sys.exit(str(reason))


Worker(json.loads(sys.argv[1])).run()
