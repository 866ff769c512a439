package fiji.plugin.trackmate;

/** Stand-in for TrackMate's, with its constant. */
public abstract class Logger {
    public static final Logger VOID_LOGGER = new Logger() {
        @Override
        public String toString() {
            return "VOID_LOGGER";
        }
    };
}
