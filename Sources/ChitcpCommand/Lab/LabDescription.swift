// What a lab file describes: hosts, links, and what happens on them.
import Impairments
import TCPSegments

/// A lab as its file describes it.
struct LabDescription: Equatable {
    /// A host: a daemon, or the Linux kernel in a namespace.
    struct Host: Equatable {
        let name: String
        let line: Int
        /// True if its TCP is the kernel's.
        var isKernel = false
        /// Further options of its daemon.
        var options: [String] = []
        /// What happens to everything that leaves it for which no link says anything.
        var impairment: LabImpairment?
        /// Its addresses, at most one of each family; none: the lab chooses.
        var addresses: [IPAddress] = []
        /// Where they are said, for mistakes.
        var addressLine = 0
    }

    /// What happens between two hosts, each way.
    struct Link: Equatable {
        let line: Int
        let first: String
        let second: String
        var there: LabImpairment?
        var back: LabImpairment?
    }

    /// Its name: the file's, unless it says another.
    var name: String
    var hosts: [Host] = []
    var links: [Link] = []

    static let maximumHosts = 64

    /// The lab in `text`, the content of `file`.
    init(_ text: String, file: String, defaultName: String) throws(LabFileError) {
        let reader = LabReader(file: file)
        name = defaultName
        guard text.utf8.count <= 1 << 20 else { throw LabFileError(file, 1, "larger than a lab file is (1 MiB)") }
        let root = try LabText.read(text, file: file)
        for entry in try reader.mapping(root, "hosts and links") {
            switch entry.name {
            case "name": name = try reader.name(entry.node, "a lab's name")
            case "hosts": hosts = try reader.hosts(entry.node)
            case "links": break
            default: throw reader.unknown(entry, "name, hosts or links")
            }
        }
        guard LabReader.isName(name) else {
            throw LabFileError(
                file, 1, "\(name) cannot be a lab's name: say one, like name: pair (\(LabReader.nameRule))")
        }
        guard !hosts.isEmpty else {
            throw LabFileError(file, 1, "a lab has hosts, like hosts: with alice: and bob: below it")
        }
        for entry in try reader.mapping(root, "hosts and links") where entry.name == "links" {
            links = try reader.links(entry.node, hosts)
        }
    }
}

/// The words of an impairment, with their seed.
struct LabImpairment: Equatable {
    let configuration: ImpairmentConfiguration
    let seed: UInt64
}

/// Takes nodes for what they should be, or says what is wrong with them.
struct LabReader {
    let file: String

    static let nameRule = "lower-case letters, digits and hyphens, at most 20, a letter first"

    static func isName(_ text: String) -> Bool {
        let letters = "a"..."z"
        guard (1...20).contains(text.utf8.count), let first = text.first, letters.contains("\(first)") else {
            return false
        }
        return text.allSatisfy { letters.contains("\($0)") || ("0"..."9").contains("\($0)") || $0 == "-" }
    }

    func mistake(_ line: Int, _ sentence: String) -> LabFileError { LabFileError(file, line, sentence) }

    func unknown(_ entry: LabEntry, _ known: String) -> LabFileError {
        mistake(entry.line, "\(entry.name) is not known here: \(known)")
    }

    func mapping(_ node: LabNode, _ what: String) throws(LabFileError) -> [LabEntry] {
        switch node.value {
        case .mapping(let entries): return entries
        case .nothing: return []
        case .text, .list: throw mistake(node.line, "\(what) are wanted here, each a name and a colon")
        }
    }

    func text(_ node: LabNode, _ what: String) throws(LabFileError) -> String {
        guard case .text(let text) = node.value else { throw mistake(node.line, "\(what) is wanted here") }
        return text
    }

    func name(_ node: LabNode, _ what: String) throws(LabFileError) -> String {
        let text = try text(node, what)
        guard Self.isName(text) else { throw mistake(node.line, "\(text) cannot be \(what): \(Self.nameRule)") }
        return text
    }

    func impairment(_ node: LabNode) throws(LabFileError) -> LabImpairment {
        let words = try text(node, "what happens, like loss=1%,delay=20ms,")
        let read: (configuration: ImpairmentConfiguration, seed: UInt64)
        do throws(ImpairmentError) { read = try ImpairmentConfiguration.parse(words) } catch {
            throw mistake(node.line, "\(error)")
        }
        return LabImpairment(configuration: read.configuration, seed: read.seed)
    }

    // MARK: Hosts

    func hosts(_ node: LabNode) throws(LabFileError) -> [LabDescription.Host] {
        var hosts: [LabDescription.Host] = []
        for entry in try mapping(node, "hosts") {
            guard Self.isName(entry.name) else {
                throw mistake(entry.line, "\(entry.name) cannot be a host's name: \(Self.nameRule)")
            }
            var host = LabDescription.Host(name: entry.name, line: entry.line)
            for setting in try mapping(entry.node, "a host's address, options, impair or kernel") {
                switch setting.name {
                case "address":
                    host.addresses = try addresses(setting.node)
                    host.addressLine = setting.line
                case "kernel": host.isKernel = try truth(setting.node)
                case "options": host.options = try options(setting.node)
                case "impair": host.impairment = try impairment(setting.node)
                default: throw unknown(setting, "address, options, impair or kernel")
                }
            }
            guard !host.isKernel || (host.options.isEmpty && host.impairment == nil) else {
                throw mistake(entry.line, "\(host.name) is the kernel, which takes no options and impairs nothing")
            }
            for address in host.addresses {
                if let other = hosts.first(where: { $0.addresses.contains(address) }) {
                    throw mistake(host.addressLine, "\(address) is \(other.name)'s, in line \(other.addressLine)")
                }
            }
            hosts.append(host)
        }
        guard hosts.count <= LabDescription.maximumHosts else {
            throw mistake(node.line, "\(hosts.count) hosts: at most \(LabDescription.maximumHosts)")
        }
        return hosts
    }

    /// One address, or a list of one of IPv4 and one of IPv6.
    private func addresses(_ node: LabNode) throws(LabFileError) -> [IPAddress] {
        let nodes: [LabNode] = if case .list(let list) = node.value { list } else { [node] }
        var addresses: [IPAddress] = []
        for one in nodes {
            let text = try text(one, "an address like 10.88.0.7 or fd88::7")
            guard let address = IPAddress(text), !address.isUnspecified, !address.isMulticastOrBroadcast else {
                throw mistake(one.line, "\(text) cannot be a host's address: one like 10.88.0.7 or fd88::7")
            }
            // RFC 4291 2.5.6: fe80::/10.
            guard address.high >> 54 != 0x3FA else {
                throw mistake(one.line, "\(text) is a link-local address, which means nothing without its interface")
            }
            addresses.append(address)
        }
        guard !addresses.isEmpty, Set(addresses.map(\.isIPv4)).count == addresses.count else {
            throw mistake(node.line, "a host has one IPv4 address, or one IPv6 address, or one of each")
        }
        return addresses
    }

    private func truth(_ node: LabNode) throws(LabFileError) -> Bool {
        switch try text(node, "true or false") {
        case "true": return true
        case "false": return false
        case let other: throw mistake(node.line, "\(other): true or false")
        }
    }

    private func options(_ node: LabNode) throws(LabFileError) -> [String] {
        let words: [String]
        switch node.value {
        case .text(let text): words = text.split(separator: " ").map(String.init)
        case .list(let nodes):
            var list: [String] = []
            for one in nodes { list.append(try text(one, "an option")) }
            words = list
        case .nothing, .mapping: throw mistake(node.line, "options like --congestion reno are wanted here")
        }
        let own = ["--address", "--socket", "--port", "--tun", "--log", "--mtu", "--route", "--tun-user", "-p", "-s"]
        if let taken = words.first(where: { word in own.contains { word == $0 || word.hasPrefix($0 + "=") } }) {
            throw mistake(node.line, "\(taken): the lab itself sets this")
        }
        return words
    }

    // MARK: Links

    func links(_ node: LabNode, _ hosts: [LabDescription.Host]) throws(LabFileError) -> [LabDescription.Link] {
        guard case .list(let nodes) = node.value else {
            if case .nothing = node.value { return [] }
            throw mistake(node.line, "links are a list: - between: [alice, bob]")
        }
        var links: [LabDescription.Link] = []
        for one in nodes {
            let link = try link(one, hosts)
            let ends = Set([link.first, link.second])
            if let earlier = links.first(where: { Set([$0.first, $0.second]) == ends }) {
                throw mistake(
                    link.line, "\(link.first) and \(link.second) have a link already, in line \(earlier.line)")
            }
            links.append(link)
        }
        return links
    }

    private func link(_ node: LabNode, _ hosts: [LabDescription.Host]) throws(LabFileError) -> LabDescription.Link {
        let entries = try mapping(node, "a link's between, impair, there or back")
        guard let between = entries.first(where: { $0.name == "between" }) else {
            throw mistake(node.line, "a link is between two hosts: - between: [alice, bob]")
        }
        guard case .list(let ends) = between.node.value, ends.count == 2 else {
            throw mistake(between.line, "a link is between two hosts: [alice, bob]")
        }
        var names: [String] = []
        for end in ends {
            let name = try text(end, "a host's name")
            guard hosts.contains(where: { $0.name == name }) else {
                throw mistake(end.line, "\(name) is not among the hosts: \(hosts.map(\.name).joined(separator: ", "))")
            }
            names.append(name)
        }
        guard names[0] != names[1] else { throw mistake(between.line, "\(names[0]) needs no link to itself") }
        var link = LabDescription.Link(line: node.line, first: names[0], second: names[1])
        for entry in entries {
            switch entry.name {
            case "between": break
            case "impair":
                let both = try impairment(entry.node)
                link.there = both
                // Each way has chances of its own.
                link.back = LabImpairment(configuration: both.configuration, seed: both.seed &+ 1)
            case "there": link.there = try impairment(entry.node)
            case "back": link.back = try impairment(entry.node)
            default: throw unknown(entry, "between, impair, there or back")
            }
        }
        guard
            !entries.contains(where: { $0.name == "impair" })
                || !entries.contains(where: { $0.name == "there" || $0.name == "back" })
        else { throw mistake(node.line, "impair says what happens each way; there and back say it of one") }
        let kernels = hosts.filter { names.contains($0.name) && $0.isKernel }.count
        guard kernels < 2 || (link.there == nil && link.back == nil) else {
            throw mistake(node.line, "between two kernels nobody impairs anything (chitcp relay can)")
        }
        return link
    }
}
