import ChitcpCommand

ChitcpCommand.main()
