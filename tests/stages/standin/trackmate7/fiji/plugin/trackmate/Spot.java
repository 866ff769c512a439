package fiji.plugin.trackmate;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** Stand-in for TrackMate 7's: a class. */
public class Spot {
    public static AtomicInteger IDcounter = new AtomicInteger(-1);

    private final ConcurrentHashMap<String, Double> features = new ConcurrentHashMap<>();
    private final int ID;

    public Spot(double x, double y, double z, double radius, double quality) {
        ID = IDcounter.incrementAndGet();
        putFeature("POSITION_X", x);
        putFeature("POSITION_Y", y);
        putFeature("POSITION_Z", z);
        putFeature("RADIUS", radius);
        putFeature("QUALITY", quality);
        Calls.note("Spot", x, y, z, radius, quality);
    }

    public int ID() {
        return ID;
    }

    public final Double getFeature(String feature) {
        return features.get(feature);
    }

    public final void putFeature(String feature, Double value) {
        features.put(feature, value);
        Calls.note("putFeature", feature, value);
    }

    public double diffTo(Spot s, String feature) {
        return getFeature(feature) - s.getFeature(feature);
    }

    @Override
    public int hashCode() {
        return ID;
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof Spot && ((Spot) other).ID == ID;
    }
}
