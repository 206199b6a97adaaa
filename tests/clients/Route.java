// Sends messages with keys to a partitioned Pulsar topic with Pulsar's own Java client, and tells where they went. Arguments:
// url, topic, hashing scheme. Each line of the input is the base64 of a key's bytes; each line "partition <n>" of the output is
// the partition that its message is in.

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.CompletableFuture;
import org.apache.pulsar.client.api.HashingScheme;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.TypedMessageBuilder;
import org.apache.pulsar.client.impl.MessageIdImpl;

public class Route {
    public static void main(String[] arguments) throws Exception {
        List<CompletableFuture<MessageId>> sent = new ArrayList<>();
        try (PulsarClient client = PulsarClient.builder().serviceUrl(arguments[0]).build();
                Producer<byte[]> producer = client.newProducer()
                        .topic(arguments[1])
                        .hashingScheme(HashingScheme.valueOf(arguments[2]))
                        .maxPendingMessages(0)
                        .create();
                Scanner lines = new Scanner(System.in)) {
            while (lines.hasNextLine()) {
                byte[] key = Base64.getDecoder().decode(lines.nextLine());
                sent.add(keyed(producer.newMessage(), key).value(key).sendAsync());
            }
            producer.flush();
            for (CompletableFuture<MessageId> one : sent) {
                System.out.println("partition " + ((MessageIdImpl) one.get()).getPartitionIndex());
            }
        }
    }

    // Text as text; other bytes as what the client calls a key of bytes.
    private static TypedMessageBuilder<byte[]> keyed(TypedMessageBuilder<byte[]> message, byte[] key) {
        try {
            return message.key(StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(key)).toString());
        } catch (CharacterCodingException notText) {
            return message.keyBytes(key);
        }
    }
}
