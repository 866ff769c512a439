package fiji.plugin.trackmate;

import java.util.concurrent.atomic.AtomicInteger;

/** Stand-in for TrackMate 8's: an interface. */
public interface Spot {
    AtomicInteger IDcounter = new AtomicInteger(-1);

    int ID();

    Double getFeature(String feature);

    void putFeature(String feature, Double value);

    default double diffTo(Spot s, String feature) {
        return getFeature(feature) - s.getFeature(feature);
    }
}
