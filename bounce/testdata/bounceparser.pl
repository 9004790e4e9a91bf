# Prints the recipients, reasons and statuses that Mail::DeliveryStatus::BounceParser
# finds in each notice. Mail is given to it as a mailbox holds it: lines end in LF.
use strict;
use warnings;
use Mail::DeliveryStatus::BounceParser;

for my $name (@ARGV) {
    open my $in, '<', $name or die "$name: $!";
    my $text = do { local $/; <$in> };
    $text =~ s/\r\n/\n/g;
    my $bounce = Mail::DeliveryStatus::BounceParser->new($text);
    my @reports = $bounce->is_bounce ? $bounce->reports : ();
    print "$name nothing\n" unless @reports;
    print join(' ', $name, $_->get('email'), $_->get('std_reason'), $_->get('Status')), "\n" for @reports;
}
