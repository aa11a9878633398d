// Which window to announce: never smaller than promised, never silly.
import TCPSegments

extension Connection {
    /// The largest window there can be: the buffer, and no more than the field can say. What was not told is not accepted
    /// either, or a peer without scaling would leave a window open of which it knows a sixteenth, to blind attackers.
    private var largestWindow: Int { min(receiveCapacity, 0xFFFF << Int(tcb.receive.scale.shift)) }

    /// The window's edge that the free buffer would allow.
    private var possibleEdge: StreamOffset {
        tcb.receive.nxt + min(max(0, receiveCapacity - receiveBuffer.count), largestWindow)
    }

    /// RFC 9293 3.8.6.2.2: the edge moves only by a segment or half of the buffer.
    private var worthwhileStep: Int { max(1, min(largestWindow / 2, tcb.receiveMSS)) }

    /// Moves the edge if that is worthwhile and returns the field that says so.
    func announceWindow() -> WindowField {
        // RFC 9293 3.8.6: the edge does not move left. The field rounds down to its unit (RFC 7323 2.4), so what the peer
        // sees may lag behind the edge by less than one unit; what it was promised is accepted all the same.
        let step = configuration.announcesExactWindow ? 1 : worthwhileStep
        if possibleEdge - tcb.receive.edge >= step { tcb.receive.edge = possibleEdge }
        return WindowSize(UInt32(clamping: tcb.receive.wnd)).field(scaledBy: tcb.receive.scale)
    }

    /// After the user has read: tell the peer if the window has opened enough (RFC 9293 3.8.6.2.2).
    func considerWindowUpdate() {
        guard state.mayReceive else { return }
        let gain = possibleEdge - tcb.receive.edge
        let size = largestWindow
        let step = max(1, min(size / 2, max(2 * tcb.receiveMSS, size / 4)))
        let wasClosed = tcb.receive.wnd < min(tcb.receiveMSS, size / 2)
        if gain >= step || (wasClosed && gain >= worthwhileStep) { ackPolicy.demandNow() }
    }
}
