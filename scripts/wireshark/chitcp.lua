-- chiTCP's frames for Wireshark and tshark: real TCP connections on port 23300 that carry TCP segments.
--
--     wireshark -X lua_script:chitcp.lua, or once: cp chitcp.lua ~/.local/lib/wireshark/plugins/
--
-- A frame is a header of 16 bytes and a segment. There is no IP header: the segment's addresses are those of the real
-- connection, so Wireshark's own dissector of TCP takes it from there, with all that it knows of TCP.

local chitcp = Proto("chitcp", "chiTCP frame")

local header_length = 16
local kinds = { [1] = "TCP segment", [2] = "raw" }

local fields = {
    length = ProtoField.uint16("chitcp.length", "Payload length", base.DEC),
    protocol = ProtoField.uint8("chitcp.protocol", "Protocol", base.DEC, kinds),
    flags = ProtoField.uint8("chitcp.flags", "Flags", base.HEX),
    reserved = ProtoField.bytes("chitcp.reserved", "Reserved"),
}
chitcp.fields = fields

local experts = {
    protocol = ProtoExpert.new(
        "chitcp.protocol.unknown", "No TCP segment", expert.group.PROTOCOL, expert.severity.WARN),
    gap = ProtoExpert.new(
        "chitcp.gap", "Not the beginning of a frame: packets are missing here, or out of order",
        expert.group.SEQUENCE, expert.severity.WARN),
    short = ProtoExpert.new(
        "chitcp.short", "Shorter than a TCP header", expert.group.MALFORMED, expert.severity.ERROR),
}
chitcp.experts = experts

chitcp.prefs.ports = Pref.range("TCP ports", "23300", "Ports of chiTCP's network layer (CHITCPD_PORT)", 65535)

local tcp = Dissector.get("tcp")
local data = Dissector.get("data")

-- After a gap in the capture a packet may begin anywhere in a frame: what cannot be a header is none.
local function is_header(buffer, offset)
    local protocol = buffer(offset + 2, 1):uint()
    return kinds[protocol] ~= nil
        and buffer(offset + 3, 1):uint() == 0
        and buffer(offset + 4, 4):uint() == 0
        and buffer(offset + 8, 4):uint() == 0
        and buffer(offset + 12, 4):uint() == 0
end

local function frame_length(buffer, pinfo, offset)
    if not is_header(buffer, offset) then return buffer:len() - offset end
    return header_length + buffer(offset, 2):uint()
end

local function dissect_segment(buffer, pinfo, tree)
    -- What TCP says of itself in pinfo is about the segment; the real connection's goes on with its own.
    local source, destination = pinfo.src_port, pinfo.dst_port
    local can_desegment = pinfo.can_desegment
    tcp:call(buffer, pinfo, tree)
    pinfo.src_port, pinfo.dst_port = source, destination
    pinfo.can_desegment = can_desegment
    pinfo.desegment_len = 0
    pinfo.desegment_offset = 0
end

local function dissect_frame(buffer, pinfo, tree)
    if not is_header(buffer, 0) then
        tree:add(chitcp, buffer()):add_proto_expert_info(experts.gap)
        return buffer:len()
    end
    local count = buffer(0, 2):uint()
    local protocol = buffer(2, 1):uint()
    local subtree = tree:add(chitcp, buffer(0, header_length))
    subtree:append_text(string.format(", %d bytes of payload", count))
    subtree:add(fields.length, buffer(0, 2))
    local item = subtree:add(fields.protocol, buffer(2, 1))
    subtree:add(fields.flags, buffer(3, 1))
    subtree:add(fields.reserved, buffer(4, 12))
    if count == 0 then return buffer:len() end
    local payload = buffer(header_length, count):tvb()
    if protocol ~= 1 then
        item:add_proto_expert_info(experts.protocol)
        data:call(payload, pinfo, tree)
    elseif count < 20 then
        subtree:add_proto_expert_info(experts.short)
        data:call(payload, pinfo, tree)
    else
        dissect_segment(payload, pinfo, tree)
        pinfo.cols.protocol:prepend("chiTCP/")
    end
    -- Further frames of this packet are told of after this one.
    pinfo.cols.info:append("; ")
    pinfo.cols.info:fence()
    return buffer:len()
end

function chitcp.dissector(buffer, pinfo, tree)
    -- The info column begins with the first frame, and not with the real connection's own words.
    pinfo.cols.info:clear()
    dissect_tcp_pdus(buffer, tree, header_length, frame_length, dissect_frame)
    return buffer:len()
end

local ports = DissectorTable.get("tcp.port")
local current = chitcp.prefs.ports
ports:add(current, chitcp)

function chitcp.prefs_changed()
    ports:remove(current, chitcp)
    current = chitcp.prefs.ports
    ports:add(current, chitcp)
end
