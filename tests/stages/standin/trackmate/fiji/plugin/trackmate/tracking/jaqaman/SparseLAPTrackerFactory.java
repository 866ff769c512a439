package fiji.plugin.trackmate.tracking.jaqaman;

import fiji.plugin.trackmate.tracking.SpotTrackerFactory;
import java.util.HashMap;
import java.util.Map;

/** Stand-in for TrackMate's, with its keys and defaults. */
public class SparseLAPTrackerFactory implements SpotTrackerFactory {
    @Override
    public Map<String, Object> getDefaultSettings() {
        Map<String, Object> settings = new HashMap<>();
        for (String event : new String[] {"GAP_CLOSING", "TRACK_SPLITTING", "TRACK_MERGING"}) {
            settings.put("ALLOW_" + event, event.equals("GAP_CLOSING"));
        }
        for (String event : new String[] {"LINKING", "GAP_CLOSING", "SPLITTING", "MERGING"}) {
            settings.put(event + "_MAX_DISTANCE", 15.0);
            settings.put(event + "_FEATURE_PENALTIES", new HashMap<String, Double>());
        }
        settings.put("MAX_FRAME_GAP", 2);
        settings.put("BLOCKING_VALUE", Double.POSITIVE_INFINITY);
        settings.put("ALTERNATIVE_LINKING_COST_FACTOR", 1.05);
        settings.put("CUTOFF_PERCENTILE", 0.9);
        return settings;
    }
}
