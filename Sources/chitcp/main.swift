import ChitcpCommand

endWithParent()
ChitcpCommand.main()
