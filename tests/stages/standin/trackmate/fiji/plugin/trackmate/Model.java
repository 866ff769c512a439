package fiji.plugin.trackmate;

/** Stand-in for TrackMate's, with its signatures. */
public class Model {
    private SpotCollection spots = new SpotCollection();
    private final TrackModel tracks = new TrackModel();

    public void setLogger(Logger logger) {
        Calls.note("setLogger", logger.toString());
    }

    public void setSpots(SpotCollection spots, boolean doNotify) {
        this.spots = spots;
        Calls.note("setSpots", doNotify);
    }

    public SpotCollection getSpots() {
        return spots;
    }

    public TrackModel getTrackModel() {
        return tracks;
    }
}
