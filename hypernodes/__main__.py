from hypernodes.cli import main

main()
