import Daemon

DaemonCommand.main()
