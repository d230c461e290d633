"""What tests share: a stopped clock, a store on a real file, and short ways to call operations."""
