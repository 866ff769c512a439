package fiji.plugin.trackmate;

import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.jgrapht.graph.DefaultWeightedEdge;

/** Stand-in for TrackMate's, with its signatures: an undirected graph, whose edges' ends come in any order. */
public class TrackModel {
    private final Map<DefaultWeightedEdge, Spot[]> ends = new LinkedHashMap<>();
    private final Map<DefaultWeightedEdge, Double> weights = new HashMap<>();
    private final Map<Spot, Integer> trackOf = new LinkedHashMap<>();

    void link(Spot one, Spot other, double weight) {
        DefaultWeightedEdge edge = new DefaultWeightedEdge();
        // Every second edge the wrong way round.
        ends.put(edge, ends.size() % 2 == 0 ? new Spot[] {one, other} : new Spot[] {other, one});
        weights.put(edge, weight);
        int kept = trackOf.computeIfAbsent(one, spot -> spot.ID());
        int lost = trackOf.computeIfAbsent(other, spot -> spot.ID());
        trackOf.replaceAll((spot, track) -> track == lost ? kept : track);
    }

    boolean isLinked(Spot spot) {
        return trackOf.containsKey(spot);
    }

    public Set<Integer> trackIDs(boolean visibleOnly) {
        Calls.note("trackIDs", visibleOnly);
        return new LinkedHashSet<>(trackOf.values());
    }

    public Set<DefaultWeightedEdge> trackEdges(Integer trackID) {
        Set<DefaultWeightedEdge> found = new LinkedHashSet<>();
        ends.forEach((edge, spots) -> {
            if (trackOf.get(spots[0]).equals(trackID)) {
                found.add(edge);
            }
        });
        return found;
    }

    public Spot getEdgeSource(DefaultWeightedEdge edge) {
        return ends.get(edge)[0];
    }

    public Spot getEdgeTarget(DefaultWeightedEdge edge) {
        return ends.get(edge)[1];
    }

    public double getEdgeWeight(DefaultWeightedEdge edge) {
        return weights.get(edge);
    }
}
