package fiji.plugin.trackmate;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Stand-in for TrackMate's, with its signatures and its checks of types; it links what is nearest. */
public class TrackMate {
    public static final String PLUGIN_NAME_VERSION = TrackMate.class.getPackage().getImplementationVersion();

    private final Model model;
    private final Settings settings;
    private String errorMessage;

    public TrackMate(Model model, Settings settings) {
        this.model = model;
        this.settings = settings;
    }

    public void setNumThreads(int numThreads) {
        Calls.note("setNumThreads", numThreads);
    }

    public String getErrorMessage() {
        return errorMessage;
    }

    public boolean execTracking() {
        Calls.note("execTracking");
        errorMessage = wrong(settings.trackerSettings);
        // Asked for by a test, for films with this linking distance.
        String distance = String.valueOf(settings.trackerSettings.get("LINKING_MAX_DISTANCE"));
        if (distance.equals(System.getProperty("standin.fails"))) {
            errorMessage += "a planted error";
        }
        if (distance.equals(System.getProperty("standin.throws"))) {
            throw new OutOfMemoryError("a planted lack of memory");
        }
        if (errorMessage.isEmpty()) {
            follow();
        }
        return errorMessage.isEmpty();
    }

    private static String wrong(Map<String, Object> given) {
        Map<String, Class<?>> wanted = new TreeMap<>();
        for (String key : new String[] {"GAP_CLOSING", "TRACK_SPLITTING", "TRACK_MERGING"}) {
            wanted.put("ALLOW_" + key, Boolean.class);
        }
        for (String key : new String[] {"LINKING", "GAP_CLOSING", "SPLITTING", "MERGING"}) {
            wanted.put(key + "_MAX_DISTANCE", Double.class);
            wanted.put(key + "_FEATURE_PENALTIES", Map.class);
        }
        wanted.put("MAX_FRAME_GAP", Integer.class);
        wanted.put("BLOCKING_VALUE", Double.class);
        wanted.put("ALTERNATIVE_LINKING_COST_FACTOR", Double.class);
        wanted.put("CUTOFF_PERCENTILE", Double.class);
        StringBuilder words = new StringBuilder();
        if (!given.keySet().equals(wanted.keySet())) {
            words.append("settings are ").append(new TreeMap<>(given).keySet());
        }
        wanted.forEach((key, type) -> {
            Object value = given.get(key);
            if (!type.isInstance(value)) {
                words.append(key + " is no " + type.getSimpleName() + " but " + value.getClass().getName());
            }
            Calls.note("setting", key, value instanceof Map ? value.toString() : value);
        });
        return words.toString();
    }

    /** From each frame to the next one of the collection, then over gaps, then to daughters. */
    private void follow() {
        List<Integer> frames = new ArrayList<>(model.getSpots().keySet());
        Set<Spot> continued = new HashSet<>();
        Set<Spot> reached = new HashSet<>();
        int furthest = allowed("GAP_CLOSING") ? (Integer) settings.trackerSettings.get("MAX_FRAME_GAP") : 1;
        for (int step = 1; step <= furthest; step++) {
            String limit = step == 1 ? "LINKING_MAX_DISTANCE" : "GAP_CLOSING_MAX_DISTANCE";
            for (int at = 0; at + step < frames.size(); at++) {
                join(frames.get(at), frames.get(at + step), limit, continued, reached, step > 1);
            }
        }
        if (allowed("TRACK_SPLITTING")) {
            for (int at = 0; at + 1 < frames.size(); at++) {
                join(frames.get(at), frames.get(at + 1), "SPLITTING_MAX_DISTANCE", null, reached, true);
            }
        }
    }

    private boolean allowed(String event) {
        return (Boolean) settings.trackerSettings.get("ALLOW_" + event);
    }

    private void join(int early, int late, String limit, Set<Spot> continued, Set<Spot> reached, boolean ofTracks) {
        double furthest = (Double) settings.trackerSettings.get(limit);
        for (Spot target : model.getSpots().iterable(late, true)) {
            Spot nearest = null;
            double least = furthest * furthest;
            for (Spot source : model.getSpots().iterable(early, true)) {
                double dx = source.diffTo(target, "POSITION_X");
                double dy = source.diffTo(target, "POSITION_Y");
                boolean free = continued == null || !continued.contains(source);
                if (free && (!ofTracks || model.getTrackModel().isLinked(source)) && dx * dx + dy * dy < least) {
                    nearest = source;
                    least = dx * dx + dy * dy;
                }
            }
            if (nearest != null && reached.add(target)) {
                if (continued != null) {
                    continued.add(nearest);
                }
                model.getTrackModel().link(nearest, target, least);
            }
        }
    }
}
