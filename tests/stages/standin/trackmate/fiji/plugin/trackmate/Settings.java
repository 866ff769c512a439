package fiji.plugin.trackmate;

import fiji.plugin.trackmate.tracking.SpotTrackerFactory;
import java.util.HashMap;
import java.util.Map;

/** Stand-in for TrackMate's, with its fields. */
public class Settings {
    public SpotTrackerFactory trackerFactory;
    public Map<String, Object> trackerSettings = new HashMap<>();
}
