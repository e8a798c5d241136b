/**
 * For a server that an edge talks to: it closes no idle connection, as the real ones do not before the edge does. Node's own
 * five seconds are workerd's, too: what is sent on a connection that is closed at that moment is lost.
 */
export const KEPT_CONNECTIONS = { keepAliveTimeout: 0 }
