// Which addresses the hosts of a lab have: those that its file says, and free ones where it says none.
import Glibc
import TCPSegments

/// Gives each host of a lab its addresses.
struct LabAddresses {
    let description: LabDescription
    /// The lab file, for mistakes.
    let file: String

    /// With namespaces: of both families, 10.88.0.N and fd88::N for host number N, unless another host has said so of itself.
    func inNamespaces(hasIPv6: Bool) throws(LabFileError) -> [[IPAddress]] {
        for host in description.hosts {
            for address in host.addresses {
                if !hasIPv6, !address.isIPv4 {
                    throw mistake(host, "\(host.name) cannot have \(address): this kernel has no IPv6")
                }
                if address.isLoopback {
                    throw mistake(
                        host,
                        """
                        \(host.name) cannot have \(address) with --namespaces: nobody else reaches a loopback address; leave it \
                        out, or say one like 10.88.0.7 or fd88::7
                        """)
                }
                if let kept = LabNamespaces.kept.first(where: { $0.contains(address) }) {
                    throw mistake(host, "\(host.name) cannot have \(address): the lab keeps \(kept) for itself")
                }
            }
        }
        let taken = Set(description.hosts.flatMap(\.addresses))
        var further = description.hosts.count
        let all = description.hosts.enumerated().map { index, host in
            guard host.addresses.isEmpty else { return host.addresses }
            var number = index + 1
            while !taken.isDisjoint(with: LabNamespaces.addresses(number)) {
                further += 1
                number = further
            }
            return LabNamespaces.addresses(number).filter { hasIPv6 || $0.isIPv4 }
        }
        try checkLinks(all)
        return all
    }

    /// Without: 127.x.y.N, where a file may name any that this machine has. `isFree` says what speaks against one: an errno.
    func onLoopback(
        free net: () throws -> String, obstacle: (IPAddress) -> Int32?
    ) throws -> [[IPAddress]] {
        for host in description.hosts {
            for address in host.addresses {
                if let error = obstacle(address) { throw mistake(host, sentence(host, address, error)) }
            }
        }
        let begin = try description.hosts.contains { $0.addresses.isEmpty } ? net() : ""
        let all = description.hosts.enumerated().map { index, host in
            host.addresses.isEmpty ? [IPAddress("\(begin).\(index + 1)")].compactMap(\.self) : host.addresses
        }
        try checkLinks(all)
        return all
    }

    private func sentence(_ host: LabDescription.Host, _ address: IPAddress, _ error: Int32) -> String {
        let beginning = "\(host.name) cannot have \(address) without --namespaces: "
        switch error {
        case EADDRNOTAVAIL:
            let others = address.isIPv4 ? "127.x.y.z is always there" : "of IPv6 only ::1 is there by itself"
            return beginning + """
                this machine has no such address (\(others)). As root: ip address add \
                \(address)/\(address.isIPv4 ? 32 : 128) dev lo, or chitcp lab up --namespaces
                """
        case EAFNOSUPPORT: return beginning + "this kernel has no IPv6"
        case EADDRINUSE:
            return beginning + "port 23300 is taken there (another chitcpd, or one that listens on all addresses)"
        default: return beginning + String(cString: strerror(error)).lowercased()
        }
    }

    /// A link is of use to hosts that have addresses of one family.
    private func checkLinks(_ all: [[IPAddress]]) throws(LabFileError) {
        func families(_ name: String) -> Set<Bool> {
            let index = description.hosts.firstIndex { $0.name == name }
            return Set(index.map { all[$0].map(\.isIPv4) } ?? [])
        }
        for link in description.links where families(link.first).isDisjoint(with: families(link.second)) {
            let (v4, v6) = families(link.first).contains(true) ? (link.first, link.second) : (link.second, link.first)
            throw LabFileError(
                file, link.line,
                "\(v4) has only IPv4 and \(v6) only IPv6 here: nothing can go over this link; see address")
        }
    }

    private func mistake(_ host: LabDescription.Host, _ sentence: String) -> LabFileError {
        LabFileError(file, host.addressLine, sentence)
    }
}
