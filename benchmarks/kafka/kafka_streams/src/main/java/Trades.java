import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.state.WindowStore;

/** The two works of the benchmark in Kafka Streams. Arguments are of the form name=value. */
public final class Trades {
    /** An input record: six fields. */
    public static final class Trade {
        public long id;
        public String symbol;
        public double price;
        public int qty;
        public String side;
        public long ts;
    }

    /** An output record of the filter. */
    public record Bought(long id, String symbol, double amount, int qty) {}

    /** An output record of the windows. */
    public record Bar(long window_start, String symbol, long n, long total) {}

    /** What a window holds for a symbol: sixteen bytes in the store. */
    public record Total(long n, long qty) {}

    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) {
        Map<String, String> given = new HashMap<>();
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            given.put(parts[0], parts[1]);
        }
        StreamsBuilder builder = new StreamsBuilder();
        Serde<Trade> trades = serde(JSON.readerFor(Trade.class), null);
        KStream<String, Trade> source = builder.stream(given.get("source"), Consumed.with(Serdes.String(), trades)
            .withTimestampExtractor((record, before) -> ((Trade) record.value()).ts));
        if (given.get("work").equals("filter")) {
            filter(source, given.get("sink"));
        } else {
            window(source, trades, given.get("sink"));
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(given));
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static void filter(KStream<String, Trade> source, String sink) {
        Serde<Bought> bought = serde(null, JSON.writerFor(Bought.class));
        source.filter((symbol, trade) -> trade.side.equals("buy"))
            .mapValues(trade -> new Bought(trade.id, trade.symbol, trade.price * trade.qty, trade.qty))
            .to(sink, Produced.with(Serdes.String(), bought));
    }

    private static void window(KStream<String, Trade> source, Serde<Trade> trades, String sink) {
        Serde<Bar> bars = serde(null, JSON.writerFor(Bar.class));
        source.groupByKey(Grouped.with(Serdes.String(), trades))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMinutes(1), Duration.ofSeconds(1)))
            .aggregate(
                () -> new Total(0, 0),
                (symbol, trade, total) -> new Total(total.n() + 1, total.qty() + trade.qty),
                Materialized.<String, Total, WindowStore<Bytes, byte[]>>as("totals")
                    .withKeySerde(Serdes.String()).withValueSerde(totals()))
            .suppress(Suppressed.untilWindowCloses(BufferConfig.unbounded()))
            .toStream()
            .map((key, total) -> KeyValue.pair(
                key.key(), new Bar(key.window().start(), key.key(), total.n(), total.qty())))
            .to(sink, Produced.with(Serdes.String(), bars));
    }

    private static Properties settings(Map<String, String> given) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, given.get("name"));
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.get("bootstrap"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, given.get("state"));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        boolean exact = given.get("guarantee").equals("exactly_once");
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
            exact ? StreamsConfig.EXACTLY_ONCE_V2 : StreamsConfig.AT_LEAST_ONCE);
        settings.put("producer.transaction.timeout.ms", 60_000);
        settings.put("consumer.auto.offset.reset", "earliest");
        // A killed instance need not be waited for: the new one takes its place at once.
        settings.put("consumer.group.instance.id", given.get("name"));
        if (given.get("tuned").equals("throughput")) {
            settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
            settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L << 20);
            settings.put("producer.linger.ms", 20);
            settings.put("producer.batch.size", 200_000);
            settings.put("producer.compression.type", "lz4");
            settings.put("consumer.max.poll.records", 10_000);
            settings.put("consumer.fetch.min.bytes", 100_000);
            settings.put("consumer.max.partition.fetch.bytes", 8 << 20);
        }
        return settings;
    }

    private static <T> Serde<T> serde(ObjectReader reader, ObjectWriter writer) {
        Serializer<T> out = (topic, value) -> {
            try {
                return value == null ? null : writer.writeValueAsBytes(value);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        Deserializer<T> in = (topic, bytes) -> {
            try {
                return bytes == null ? null : reader.readValue(bytes);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom(out, in);
    }

    private static Serde<Total> totals() {
        return Serdes.serdeFrom(
            (topic, total) -> total == null
                ? null : ByteBuffer.allocate(16).putLong(total.n()).putLong(total.qty()).array(),
            (topic, bytes) -> {
                if (bytes == null) {
                    return null;
                }
                ByteBuffer buffer = ByteBuffer.wrap(bytes);
                return new Total(buffer.getLong(), buffer.getLong());
            });
    }
}
