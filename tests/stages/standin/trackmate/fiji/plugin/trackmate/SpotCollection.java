package fiji.plugin.trackmate;

import java.util.Collection;
import java.util.HashSet;
import java.util.NavigableSet;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListMap;

/** Stand-in for TrackMate's, with its signatures. */
public class SpotCollection {
    private final ConcurrentSkipListMap<Integer, Set<Spot>> content = new ConcurrentSkipListMap<>();

    public void add(Spot spot, Integer frame) {
        content.computeIfAbsent(frame, key -> new HashSet<>()).add(spot);
        spot.putFeature("FRAME", Double.valueOf(frame));
        Calls.note("add", spot.ID(), frame);
    }

    public void put(int frame, Collection<Spot> spots) {
        content.put(frame, new HashSet<>(spots));
        Calls.note("put", frame, spots.size());
    }

    public NavigableSet<Integer> keySet() {
        return content.keySet();
    }

    public Iterable<Spot> iterable(int frame, boolean visibleSpotsOnly) {
        return content.get(frame);
    }
}
