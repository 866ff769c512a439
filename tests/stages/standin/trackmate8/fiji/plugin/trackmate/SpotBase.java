package fiji.plugin.trackmate;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** Stand-in for TrackMate 8's plain spot, with a counter of its own. */
public class SpotBase implements Spot {
    public static AtomicInteger IDcounter = new AtomicInteger(-1);

    private final ConcurrentHashMap<String, Double> features = new ConcurrentHashMap<>();
    private final int ID;

    public SpotBase(double x, double y, double z, double radius, double quality) {
        ID = IDcounter.incrementAndGet();
        putFeature("POSITION_X", x);
        putFeature("POSITION_Y", y);
        putFeature("POSITION_Z", z);
        putFeature("RADIUS", radius);
        putFeature("QUALITY", quality);
        Calls.note("SpotBase", x, y, z, radius, quality);
    }

    @Override
    public int ID() {
        return ID;
    }

    @Override
    public Double getFeature(String feature) {
        return features.get(feature);
    }

    @Override
    public void putFeature(String feature, Double value) {
        features.put(feature, value);
        Calls.note("putFeature", feature, value);
    }

    @Override
    public int hashCode() {
        return ID;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof SpotBase && ((SpotBase) other).ID == ID;
    }
}
