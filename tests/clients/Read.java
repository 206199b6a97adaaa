// Reads a Pulsar topic from its beginning with Pulsar's own Java client, by the topic's own schema. One line of JSON for
// each message: what a foreign consumer sees of it. Arguments: url, topic, count.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.schema.GenericRecord;

public class Read {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        int count = Integer.parseInt(arguments[2]);
        ObjectMapper json = new ObjectMapper();
        try (PulsarClient client = PulsarClient.builder().serviceUrl(arguments[0]).build();
                Consumer<GenericRecord> consumer = client.newConsumer(Schema.AUTO_CONSUME())
                        .topic(topic)
                        .subscriptionName("foreign-java")
                        .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest)
                        .subscribe()) {
            for (int n = 0; n < count; n++) {
                Message<GenericRecord> message = consumer.receive(30, TimeUnit.SECONDS);
                if (message == null) {
                    throw new IllegalStateException("no message for 30 s after " + n + " of them");
                }
                System.out.println(json.writeValueAsString(seen(message, json)));
                consumer.acknowledge(message);
            }
            consumer.unsubscribe();
        }
    }

    private static Map<String, Object> seen(Message<GenericRecord> message, ObjectMapper json) throws Exception {
        Map<String, Object> seen = new LinkedHashMap<>();
        String name = message.getTopicName();
        seen.put("partition", Integer.valueOf(name.substring(name.lastIndexOf('-') + 1)));
        seen.put("producer", message.getProducerName());
        seen.put("key", message.getKey());
        seen.put("event_time", message.getEventTime());
        seen.put("properties", message.getProperties());
        // The client says null for a null value, and an empty array for an empty one.
        boolean isNull = message.getData() == null;
        seen.put("value", isNull ? null : json.readTree(message.getValue().getNativeObject().toString()));
        return seen;
    }
}
