import ChitcpCommand

Preload.leave()
endWithParent()
ChitcpCommand.main()
