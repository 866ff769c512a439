package fiji.plugin.trackmate.tracking;

import java.util.Map;

/** Stand-in for TrackMate's, with its signature. */
public interface SpotTrackerFactory {
    Map<String, Object> getDefaultSettings();
}
